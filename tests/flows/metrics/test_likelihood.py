"""The figures are those that ddpm_core computes directly from all images at once."""

import numpy as np
import pytest
import scipy.linalg
import torch

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.rng import Stream, normal
from flows.snapshot import decode_snapshot
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from tests.conftest import TinyRun


def load(run: TinyRun, manifest: Manifest, split: str | None = None) -> np.ndarray:
    return DatasetReader(store=run.store, manifest=manifest).load(split)[0]


def test_the_frechet_distance_is_that_of_all_pixels_at_once(tiny_run: TinyRun) -> None:
    """Against numpy's covariances and scipy's matrix square root."""
    reference = load(tiny_run, tiny_run.dataset.manifest(tiny_run.store), "train")
    drawn = load(tiny_run, tiny_run.samples.manifest(tiny_run.store), "samples")
    assert len(drawn) == tiny_run.config.sample.count
    a, b = (x.reshape(len(x), -1).astype(np.float64) / 255 for x in (drawn, reference))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # Eigenvalues of the product: the samples are fewer than the pixels, so its root need not exist as a matrix.
    cross = np.sqrt(np.clip(scipy.linalg.eigvals(cov_a @ cov_b).real, 0, None)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    assert tiny_run.figures.metrics["eval/fd_pixels"] == pytest.approx(expected, rel=1e-4)
    assert tiny_run.figures.counts["distance_samples"] == 24


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
def test_the_bound_is_that_of_all_held_out_images_at_once(tiny_run: TinyRun, variance: Variance) -> None:
    config, metrics = tiny_run.config.evaluate, tiny_run.figures.metrics
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    network, schedule, *_ = decode_snapshot(read_verified(tiny_run.store, trained.folder, trained.units[0]), "snapshot")
    held_out = load(tiny_run, tiny_run.dataset.manifest(tiny_run.store), "test")[: config.bpd_images]
    ids = torch.arange(config.bpd_images)
    with torch.inference_mode():
        direct = bits_per_dim(
            network,
            schedule,
            to_model_range(torch.from_numpy(held_out)),
            noise=lambda t: normal(config.seed, Stream.NLL, ids, held_out.shape[1:], step=t),
            variance=variance,
        )
    name = variance.value
    total = direct.total_bpd
    assert metrics[f"eval/bits_per_dim_{name}"] == pytest.approx(float(total.mean()), rel=1e-5)
    stderr = float(np.std(total.numpy(), ddof=1) / np.sqrt(len(total)))
    assert metrics[f"eval/bits_per_dim_{name}_stderr"] == pytest.approx(stderr, rel=1e-4)
    assert metrics[f"eval/decoder_bpd_{name}"] == pytest.approx(float(direct.decoder_bpd.mean()), rel=1e-5)
    assert metrics[f"eval/step_bpd_{name}"] == pytest.approx(float(direct.step_bpd.sum(1).mean()), rel=1e-5)
    assert metrics["eval/prior_bpd"] == pytest.approx(float(direct.prior_bpd.mean()), rel=1e-9)
    assert metrics["eval/eps_mse"] == pytest.approx(float(direct.eps_mse.mean()), rel=1e-5)
    assert tiny_run.figures.counts["bpd_images"] == 16


def test_the_parts_add_up(tiny_run: TinyRun) -> None:
    metrics = tiny_run.figures.metrics
    for variance in ("fixed_small", "fixed_large"):
        parts = (
            metrics["eval/prior_bpd"] + metrics[f"eval/step_bpd_{variance}"] + metrics[f"eval/decoder_bpd_{variance}"]
        )
        assert metrics[f"eval/bits_per_dim_{variance}"] == pytest.approx(parts, rel=1e-12)


def test_the_figure_carries_the_extractors_name(tiny_run: TinyRun) -> None:
    assert "eval/fd_pixels" in tiny_run.figures.metrics
    assert "eval/fid" not in tiny_run.figures.metrics
