"""Rows of sealed features: the same however they are read, and verified."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flows.metrics.feature_rows import FeatureRows
from flows.stage import Context
from infra.errors import IntegrityError
from tests.flows.metrics.subjects import sealed_features

ROWS = torch.arange(22, dtype=torch.float32).reshape(11, 2)


@pytest.fixture
def rows(make_context: Callable[..., Context], tmp_path: Path) -> FeatureRows:
    context = make_context(tmp_path)
    return FeatureRows(manifest=sealed_features(context, {"features": ROWS}, unit=4), store=context.store)


def test_parts_are_the_units_in_order(rows: FeatureRows) -> None:
    parts = list(rows.parts())
    assert [len(part) for part in parts] == [4, 4, 3]
    assert torch.equal(torch.cat(parts), ROWS)
    assert (rows.count, list(rows.starts)) == (11, [0, 4, 8, 11])


def test_rows_come_in_the_order_asked_and_each_unit_is_read_once(
    rows: FeatureRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    unit = FeatureRows._unit
    monkeypatch.setattr(FeatureRows, "_unit", lambda self, number: reads.append(number) or unit(self, number))
    wanted = torch.tensor([10, 0, 3, 9, 0])
    assert torch.equal(rows.take(wanted), ROWS[wanted])
    assert reads == [0, 2]


@pytest.mark.parametrize("wanted", [[], [-1], [11]])
def test_a_row_that_is_not_there_is_refused(rows: FeatureRows, wanted: list[int]) -> None:
    with pytest.raises(IndexError, match=r"must lie in 0\.\.10"):
        rows.take(torch.tensor(wanted, dtype=torch.int64))


def test_a_damaged_unit_is_found(rows: FeatureRows, tmp_path: Path) -> None:
    file = tmp_path / rows.manifest.folder / rows.manifest.units[1]["file"]
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="differs from its digest"):
        list(rows.parts())


def test_another_layer_lies_in_the_same_units(make_context: Callable[..., Context], tmp_path: Path) -> None:
    context = make_context(tmp_path / "two")
    manifest = sealed_features(context, {"features": ROWS, "spatial": -ROWS}, unit=4)
    assert torch.equal(
        torch.cat(list(FeatureRows(manifest=manifest, store=context.store, layer="spatial").parts())), -ROWS
    )
