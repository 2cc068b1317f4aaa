"""A distance between features: a function of the sums of both sides, under the extractor's name."""

import numpy as np

from ddpm_core.metrics.frechet import FeatureStats
from flows.metrics.distance import distance_metric
from flows.metrics.metric import Measured
from flows.metrics.together import seal_together
from infra.compute.units import Workers
from infra.outputs.images import DatasetReader
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def signed_shift(samples: FeatureStats, reference: FeatureStats) -> float:
    """Not symmetric, so that it tells which side is which."""
    return float((samples.mean - reference.mean).sum())


def measured(run: TinyRun) -> Measured:
    metric, about = distance_metric("shift", "Signed shift", signed_shift, caution="; a test"), subject(run)
    works = metric.works(about)
    sealed = seal_together(works, run.context, stage="evaluate", workers=lambda _: Workers())
    assert [work.label for work in works] == ["reference", "samples"]
    return metric.measure(about, sealed)


def test_it_compares_the_samples_with_the_training_split(tiny_run: TinyRun) -> None:
    sides = [(tiny_run.samples, "samples"), (tiny_run.dataset, "train")]
    samples, train = (
        DatasetReader(store=tiny_run.store, manifest=artifact.manifest(tiny_run.store)).load(split)[0] / 255
        for artifact, split in sides
    )
    (figure,) = measured(tiny_run).figures
    np.testing.assert_allclose(figure.value, (samples.mean(0) - train.mean(0)).sum(), rtol=1e-5)


def test_its_figure_names_the_extractor_and_both_sides(tiny_run: TinyRun) -> None:
    found = measured(tiny_run)
    (figure,) = found.figures
    assert (figure.name, figure.label, figure.headline) == ("shift_pixels", "shift_pixels", True)
    assert figure.note == "Signed shift of 24 samples to 1,576 training images; a test"
    assert figure.standard_error is None
    assert found.counts == {"distance_samples": 24}
