"""Precision, recall, density and coverage by brute force on the same features."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from flows.metrics import neighbours
from flows.metrics.authenticity import AUTH_PCT
from flows.metrics.manifold import DENSITY_COVERAGE, PRECISION_RECALL
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured, measured_on, subject


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    monkeypatch.setattr(neighbours, "_QUERIES", 11)  # several units on each side
    generator = torch.Generator().manual_seed(0)
    reference, samples = torch.randn(40, 3, generator=generator), 0.7 * torch.randn(30, 3, generator=generator) + 0.3
    return {"reference": reference, "samples": samples}


def by_tables(sides: dict[str, torch.Tensor]) -> dict[str, float]:
    real, drawn = (sides[name].double().numpy() for name in ("reference", "samples"))
    of_real, of_drawn, across = np.sort(cdist(real, real)), np.sort(cdist(drawn, drawn)), cdist(real, drawn)
    return {
        "precision": (across <= of_real[:, [3]]).any(0).mean(),
        "recall": (across <= of_drawn[:, 3]).any(1).mean(),
        "density": (across < of_real[:, [5]]).sum(0).mean() / 5,
        "coverage": (across.min(1) < of_real[:, 5]).mean(),
    }


def test_they_are_those_of_tables_of_distances(tiny_run: TinyRun, sides: dict[str, torch.Tensor]) -> None:
    found, _ = measured_on([PRECISION_RECALL, DENSITY_COVERAGE], subject(tiny_run), tiny_run.context, sides)
    figures = {figure.name: figure for part in found for figure in part.figures}
    expected = by_tables(sides)
    assert list(figures) == [f"{name}_pixels" for name in expected]
    for name, value in expected.items():
        assert figures[f"{name}_pixels"].value == pytest.approx(value), name
    for name, count in (("precision", 30), ("recall", 40), ("coverage", 40)):
        p = expected[name]
        assert figures[f"{name}_pixels"].standard_error == pytest.approx((p * (1 - p) / count) ** 0.5)
    assert figures["density_pixels"].standard_error > 0


def test_metrics_share_the_neighbours(tiny_run: TinyRun, sides: dict[str, torch.Tensor]) -> None:
    metrics = [PRECISION_RECALL, DENSITY_COVERAGE, AUTH_PCT]
    _, works = measured_on(metrics, subject(tiny_run), tiny_run.context, sides)
    assert sorted(work.label for work in works) == [
        "reference_in_samples_balls",
        "reference_neighbours",
        "reference_neighbours_in_samples",
        "samples_in_reference_balls",
        "samples_neighbours",
        "samples_neighbours_in_reference",
    ]
    assert len({work.plan.key for work in works}) == len(works)
    units = {work.label: len(work.names) for work in works}
    assert (units["reference_neighbours"], units["samples_neighbours"]) == (4, 3)


def test_the_references_neighbours_do_not_depend_on_the_samples(tiny_run: TinyRun, sides: Any) -> None:
    keys = []
    for samples in (sides["samples"], sides["samples"] + 1):
        _, works = measured_on([AUTH_PCT], subject(tiny_run), tiny_run.context, sides | {"samples": samples})
        keys.append({work.label: work.plan.key for work in works if work.label == "reference_neighbours"})
    assert keys[0] == keys[1]


def test_too_few_images_are_one_line(tiny_run: TinyRun) -> None:
    few = {"reference": torch.randn(40, 3), "samples": torch.randn(5, 3)}
    for metric in (PRECISION_RECALL, DENSITY_COVERAGE):
        with pytest.raises(ConfigError, match=r"6 samples are needed for [a-z ]+; there are 5"):
            measured_on([metric], subject(tiny_run), tiny_run.context, few)


def test_a_real_run_has_them(tiny_run: TinyRun) -> None:
    found = measured(PRECISION_RECALL, subject(tiny_run), tiny_run.context)
    assert [figure.name for figure in found.figures] == ["precision_pixels", "recall_pixels"]
    assert all(0 <= figure.value <= 1 for figure in found.figures)
    assert "24 samples and 1,576 training images, k = 3" in found.figures[0].note
