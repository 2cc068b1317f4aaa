"""Neighbours and balls as outputs: one unit per block of queries, whatever its size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flows.metrics import neighbours
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.neighbours import NEIGHBOURS, balls_work, neighbours_work
from flows.metrics.sides import Side
from flows.metrics.tensor_units import read_columns
from flows.metrics.together import Work, seal_together
from flows.stage import Context
from infra.compute.units import Workers
from infra.outputs.manifest import Manifest
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import sealed_features, subject

ROWS = torch.round(2 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))  # many equal distances
OTHERS = torch.round(2 * torch.randn(33, 2, generator=torch.Generator().manual_seed(1)))


def seal(work: Work, context: Context) -> Manifest:
    (manifest,) = seal_together([work], context, stage="evaluate", workers=lambda _: Workers())
    return manifest


@pytest.mark.parametrize("size", [1, 7, 8192])
def test_blocks_of_queries_change_nothing(
    tiny_run: TinyRun,
    make_context: Callable[..., Context],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    monkeypatch.setattr(neighbours, "_QUERIES", size)
    context, about = make_context(tmp_path), subject(tiny_run)
    rows, others = (
        FeatureRows(manifest=sealed_features(context, {"features": part}, unit=9), store=context.store)
        for part in (ROWS, OTHERS)
    )
    side, other = (Side.REFERENCE, rows), (Side.SAMPLES, others)
    within = seal(neighbours_work(about, side, side), context)
    found = read_columns(within, context.store)
    table = ((ROWS[:, None].double() - ROWS) ** 2).sum(2)
    table.fill_diagonal_(torch.inf)
    nearest = torch.sort(table, dim=1, stable=True)
    assert torch.equal(found["squared_distances"], nearest.values[:, :NEIGHBOURS])
    assert torch.equal(found["rows"], nearest.indices[:, :NEIGHBOURS])
    across = read_columns(seal(neighbours_work(about, other, side), context), context.store)
    table = ((OTHERS[:, None].double() - ROWS) ** 2).sum(2)
    assert torch.equal(across["squared_distances"], torch.sort(table, dim=1).values[:, :NEIGHBOURS])
    balls = read_columns(seal(balls_work(about, other, side, within), context), context.store)
    assert torch.equal(balls["precise"], (table <= nearest.values[:, 2]).sum(1))
    assert torch.equal(balls["dense"], (table < nearest.values[:, 4]).sum(1))
