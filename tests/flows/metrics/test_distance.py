"""A distance between features: a function of the sums of both sides, under the extractor's name."""

import numpy as np
import pytest
import torch

from ddpm_core.metrics.blocks import random_groups
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.jackknife import GROUPS
from flows.metrics.distance import distance_metric
from flows.metrics.metric import Measured
from infra.outputs.images import DatasetReader
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured, measured_on, subject


def signed_shift(samples: FeatureStats, reference: FeatureStats) -> float:
    """Not symmetric, so that it tells which side is which."""
    return float((samples.mean - reference.mean).sum())


def shift(run: TinyRun) -> Measured:
    return measured(
        distance_metric("shift", "Signed shift", signed_shift, caution="; a test"), subject(run), run.context
    )


def test_it_rests_on_the_features_of_both_sides_then_on_their_statistics(tiny_run: TinyRun) -> None:
    labels: list[list[str]] = []
    metric = distance_metric("shift", "Signed shift", signed_shift)
    measured(
        metric, subject(tiny_run), tiny_run.context, on_works=lambda works: labels.append([w.label for w in works])
    )
    assert labels == [["reference", "samples"], ["reference_statistics", "samples_statistics"]]


def test_it_compares_the_samples_with_the_training_split(tiny_run: TinyRun) -> None:
    sides = [(tiny_run.samples, "samples"), (tiny_run.dataset, "train")]
    samples, train = (
        DatasetReader(store=tiny_run.store, manifest=artifact.manifest(tiny_run.store)).load(split)[0] / 255
        for artifact, split in sides
    )
    (figure,) = shift(tiny_run).figures
    np.testing.assert_allclose(figure.value, (samples.mean(0) - train.mean(0)).sum(), rtol=1e-5)


def test_its_figure_names_the_extractor_and_both_sides(tiny_run: TinyRun) -> None:
    found = shift(tiny_run)
    (figure,) = found.figures
    assert (figure.name, figure.label, figure.headline) == ("shift_pixels", "shift_pixels", True)
    assert (
        figure.note == "Signed shift of 24 samples to 1,576 training images; a test; a standard error needs 80 samples"
    )
    assert figure.standard_error is None
    assert found.counts == {"distance_samples": 24}


def stats_of(rows: torch.Tensor) -> FeatureStats:
    return FeatureStats.empty(rows.shape[1]).update(rows)


def test_more_samples_than_dimensions_give_an_error_and_a_limit(tiny_run: TinyRun) -> None:
    """Against the distance of what is left of the rows themselves, group by group."""
    generator = torch.Generator().manual_seed(0)
    sides = {
        "reference": torch.randn(90, 5, generator=generator),
        "samples": torch.randn(67, 5, generator=generator) + 1,
    }
    (found,), works = measured_on(
        [distance_metric("fd", "Fréchet distance", frechet_distance)],
        subject(tiny_run, {"seed": 3}),
        tiny_run.context,
        sides,
    )
    value, limit = found.figures
    reference = stats_of(sides["reference"])
    groups = random_groups(3, 67, 1, GROUPS)
    left = [
        frechet_distance(stats_of(torch.from_numpy(np.delete(sides["samples"].numpy(), group, axis=0))), reference)
        for group in groups
    ]
    share = np.array([len(group) for group in groups]) / 67
    corrected = GROUPS * value.value - ((1 - share) * left).sum()
    assert (value.name, limit.name, limit.headline) == ("fd_pixels", "fd_pixels_infinity", False)
    assert limit.value == pytest.approx(corrected, rel=1e-9)
    pseudo = (value.value - (1 - share) * left) / share
    expected = np.sqrt(np.mean((pseudo - corrected) ** 2 * share / (1 - share)))
    assert value.standard_error == limit.standard_error == pytest.approx(expected, rel=1e-9)
    assert value.terms == limit.terms == GROUPS
    assert value.error_needs == limit.error_needs == ""
    assert "without its bias, as of unlimited samples, by the jackknife" in limit.note
    assert [work.label for work in works][-1] == "fd_left_out"
    assert len(works[-1].names) == GROUPS // 4


def test_fewer_samples_than_dimensions_give_neither(tiny_run: TinyRun) -> None:
    (figure,) = shift(tiny_run).figures
    assert (figure.standard_error, figure.terms) == (None, None)
    assert figure.error_needs == "80 samples", "20 groups of 4, of which 19 span 64 dimensions"
