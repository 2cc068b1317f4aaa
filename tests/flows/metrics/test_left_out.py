"""Distances with groups of samples left out: when there are any; `test_distance.py` has their values."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddpm_core.metrics.blocks import random_groups
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.jackknife import GROUPS
from flows.metrics import left_out
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.left_out import LeftOutDistances, fewest_samples, is_wide_enough, left_out_work
from flows.metrics.sides import Side
from flows.stage import Context
from infra.features.extractor import FEATURES
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import sealed_features, subject


@pytest.mark.parametrize(
    ("count", "dimensions", "expected"), [(50_000, 2048, True), (2048, 2048, False), (24, 64, False)]
)
def test_a_part_must_span_all_dimensions(count: int, dimensions: int, expected: bool) -> None:
    assert is_wide_enough(count, dimensions) == expected


def test_the_bound_is_exact() -> None:
    """20 groups of 5 leave 95 of 100: full rank up to 94 dimensions, since a mean takes one."""
    assert is_wide_enough(100, 94)
    assert not is_wide_enough(100, 95)


@pytest.mark.parametrize("dimensions", [1, 18, 19, 64, 2023, 2048])
def test_the_fewest_samples_are_the_first_that_are_enough(dimensions: int) -> None:
    enough = [is_wide_enough(count, dimensions) for count in range(1, 2300)]
    assert enough.index(True) + 1 == fewest_samples(dimensions)
    assert all(enough[fewest_samples(dimensions) :])
    assert all(count // 20 * 19 > dimensions for count, wide in enumerate(enough, 1) if wide)


ROWS, WIDTH, SEED = 1003, 5, 7


def rows_of(context: Context) -> tuple[Tensor, FeatureRows]:
    drawn = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    return drawn, FeatureRows(manifest=sealed_features(context, {FEATURES: drawn}, unit=64), store=context.store)


def sums_of(rows: FeatureRows, groups: tuple[Tensor, ...]) -> list[FeatureStats]:
    manifest = rows.manifest
    compute = LeftOutDistances(
        name="fd",
        distance=frechet_distance,
        samples=rows,
        samples_statistics=manifest,
        reference_statistics=manifest,
        seed=SEED,
    )
    return compute._sums(groups, torch.device("cpu"))


def test_the_sums_of_a_group_are_those_of_its_rows_in_their_random_order(make_context: Callable[..., Context]) -> None:
    """To the bit: outputs that were sealed before the rows were read part by part stay what they are."""
    drawn, rows = rows_of(make_context())
    groups = random_groups(SEED, ROWS, Side.SAMPLES, GROUPS)[4:8]
    for found, group in zip(sums_of(rows, groups), groups, strict=True):
        expected = FeatureStats.empty(WIDTH).update(drawn[group])
        assert (found.count, found.total.tolist()) == (len(group), expected.total.tolist())
        assert found.outer.equal(expected.outer)


def test_no_group_is_held_whole_however_many_samples_there_are(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, rows = rows_of(make_context())
    held: list[int] = []
    update = FeatureStats.update

    def watched(stats: FeatureStats, features: Tensor) -> FeatureStats:
        held.append(len(features))
        return update(stats, features)

    monkeypatch.setattr(left_out, "_HELD", 10)
    monkeypatch.setattr(FeatureRows, "take", lambda *_: pytest.fail("rows of whole groups were taken"))
    monkeypatch.setattr(FeatureStats, "update", watched)
    groups = random_groups(SEED, ROWS, Side.SAMPLES, GROUPS)[:4]
    found = sums_of(rows, groups)
    assert max(held) < 30
    assert [stats.count for stats in found] == [51, 51, 51, 50]
    for stats, group in zip(found, groups, strict=True):
        torch.testing.assert_close(stats.outer, drawn[group].double().T @ drawn[group].double())


def test_the_key_changes_only_where_the_order_of_the_sums_does(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows = rows_of(tiny_run.context)
    compute = LeftOutDistances(
        name="fd",
        distance=frechet_distance,
        samples=rows,
        samples_statistics=rows.manifest,
        reference_statistics=rows.manifest,
        seed=SEED,
    )
    settings = []
    for most in (left_out._HELD, 51, 50):
        monkeypatch.setattr(left_out, "_HELD", most)
        settings.append(left_out_work(subject(tiny_run), compute).plan.settings)
    assert settings == [{"distance": "fd"}, {"distance": "fd"}, {"distance": "fd", "held": 50}]
