"""A distance between features: a function of the sums of both sides, under the extractor's name."""

import numpy as np

from ddpm_core.metrics.frechet import FeatureStats
from flows.metrics.distance import distance_metric
from flows.metrics.metric import Measured
from infra.outputs.images import DatasetReader
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured, subject


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
    assert figure.note == "Signed shift of 24 samples to 1,576 training images; a test"
    assert figure.standard_error is None
    assert found.counts == {"distance_samples": 24}
