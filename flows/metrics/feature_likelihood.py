"""The generalisation gap of FLD: how much likelier training images are than held-out ones, given the samples."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ddpm_core.metrics.blocks import random_rows
from ddpm_core.metrics.feature_likelihood import fit_mixture, generalisation_gap, normalisation
from flows.metrics.choices import MetricName
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import check_count, compared_features, features_work
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.sides import Side, named_figure, rows_of
from flows.metrics.tensor_units import read_units, tensor_work
from infra.outputs.manifest import Manifest

STAGE = "feature_likelihood"
FORMAT_VERSION = 1
# Images per side: the squared distances of all pairs take 128 MiB.
_MOST = 4096


@dataclass(frozen=True, kw_only=True)
class SubsetLikelihoods:
    """The log-likelihoods of a random subset of training images and of held-out images, given one of the samples."""

    reference: FeatureRows
    samples: FeatureRows
    held_out: FeatureRows
    seed: int

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return `training` and `held_out`, float64 [n], in nats per dimension, and the number of `samples`."""
        training, samples, held_out = (
            rows.take(random_rows(self.seed, rows.count, side)[:_MOST]).to(device)
            for rows, side in (
                (self.reference, Side.REFERENCE),
                (self.samples, Side.SAMPLES),
                (self.held_out, Side.HELD_OUT),
            )
        )
        scale = normalisation(training)
        mixture = fit_mixture(scale(samples), scale(training)).mixture
        return {
            "training": mixture.log_likelihood(scale(training)),
            "held_out": mixture.log_likelihood(scale(held_out)),
            "samples": torch.tensor(len(samples)),
        }


def _steps(subject: Subject) -> Steps:
    check_count("the gap of FLD", 2, [subject.held_out])
    assert subject.held_out is not None, "it has images"
    sealed = yield [*compared_features(subject), features_work(subject, subject.held_out, label="held_out")]
    reference, samples, held_out = rows_of(subject, sealed)
    work = tensor_work(
        subject,
        SubsetLikelihoods(reference=reference, samples=samples, held_out=held_out, seed=subject.settings["seed"]),
        stage=STAGE,
        format_version=FORMAT_VERSION,
        label="feature_likelihoods",
        rows=[1],
        inputs={"reference": sealed[0], "samples": sealed[1], "held_out": sealed[2]},
        settings=subject.key_of(["seed"]),
    )
    (likelihoods,) = yield [work]
    return partial(_measure, subject, likelihoods)


def _measure(subject: Subject, likelihoods: Manifest) -> Measured:
    (found,) = read_units(likelihoods, subject.store)
    gap = generalisation_gap(found["training"], found["held_out"])
    note = (
        f"log-likelihood per dimension of {len(found['training']):,} training images less that of "
        f"{len(found['held_out']):,} held-out ones, in nats, "
        f"given {int(found['samples']):,} samples; above 0 for copies"
    )
    return Measured(figures=[named_figure(subject, MetricName.FLD_GAP.value, gap, note)])


FLD_GAP: Metric = _steps
