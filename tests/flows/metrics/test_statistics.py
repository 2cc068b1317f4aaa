"""Statistics of features: numpy's mean and covariance of all rows at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flows.metrics.feature_rows import FeatureRows
from flows.metrics.statistics import read_stats, statistics_work, summed
from flows.metrics.together import seal_together
from flows.stage import Context
from infra.compute.units import Workers
from tests.flows.metrics.subjects import sealed_features

ROWS = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 3


def test_they_are_those_of_numpy(make_context: Callable[..., Context], tmp_path: Path) -> None:
    context = make_context(tmp_path)
    manifest = sealed_features(context, {"features": ROWS, "spatial": ROWS[:, :2] * 2}, unit=7)
    rows = FeatureRows(manifest=manifest, store=context.store)
    works = [statistics_work(each, label=each.layer, device="cpu") for each in (rows, replace(rows, layer="spatial"))]
    assert works[0].plan.key != works[1].plan.key
    sealed = seal_together(works, context, stage="evaluate", workers=lambda _: Workers())
    for manifest, expected in zip(sealed, (ROWS, ROWS[:, :2] * 2), strict=True):
        stats, wide = read_stats(manifest, context.store), expected.double().numpy()
        assert stats.count == manifest.facts["images"] == 50
        np.testing.assert_allclose(stats.mean.numpy(), wide.mean(0), rtol=1e-13)
        np.testing.assert_allclose(stats.covariance.numpy(), np.cov(wide.T), rtol=1e-11, atol=1e-13)


def test_they_do_not_depend_on_the_units_up_to_rounding(make_context: Callable[..., Context], tmp_path: Path) -> None:
    found = []
    for unit in (1, 7, 50):
        context = make_context(tmp_path / str(unit))
        manifest = sealed_features(context, {"features": ROWS}, unit=unit)
        found.append(summed(FeatureRows(manifest=manifest, store=context.store)))
    for other in found[1:]:
        torch.testing.assert_close(other.outer, found[0].outer, rtol=1e-13, atol=0)
