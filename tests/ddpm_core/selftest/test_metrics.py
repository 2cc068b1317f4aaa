"""Each way to break the bound, the decoder or the Fréchet distance is seen, by the family that is about it."""

import math

import pytest
import torch

from ddpm_core import diffusion, gaussian, reverse
from ddpm_core.choices import Variance
from ddpm_core.gaussian import NormalCdf, normal_cdf, normal_kl
from ddpm_core.likelihood import bound, estimate
from ddpm_core.metrics import frechet
from ddpm_core.metrics.frechet import FeatureStats
from ddpm_core.reverse import reverse_log_variance
from ddpm_core.schedule import at
from ddpm_core.selftest import metrics
from ddpm_core.selftest.metrics import check_gaussian_bound, check_point_mass_bound
from tests.ddpm_core.selftest.family import failures, spoil

SWAPPED = {Variance.FIXED_SMALL: Variance.FIXED_LARGE, Variance.FIXED_LARGE: Variance.FIXED_SMALL}
SMALL_SUM = "one point, fixed small: sum of KLs, bits/dim"
LARGE_SUM = "one point, fixed large: sum of KLs, bits/dim"
GAUSSIAN_SUMS = [f"Gaussian data, {variance.value}: sum of KLs, bits/dim" for variance in SWAPPED]
DECODER = "one point: L_0, exact Phi, bits/dim"


def test_variances_swapped(monkeypatch):
    monkeypatch.setattr(reverse, "reverse_log_variance", lambda schedule, v: reverse_log_variance(schedule, SWAPPED[v]))
    assert {SMALL_SUM, LARGE_SUM} <= set(failures("bound", check_point_mass_bound))
    assert failures("bound", check_gaussian_bound) == GAUSSIAN_SUMS
    assert failures("decoder") == []  # at t = 0 both are one


def test_timesteps_off_by_one(monkeypatch):
    """q_sample and the posterior read the tables of t - 1, the denoiser those of t."""
    monkeypatch.setattr(diffusion, "at", lambda table, t, like: at(table, (t - 1).clamp(min=0), like))
    assert set(GAUSSIAN_SUMS) < set(failures("bound", check_gaussian_bound))


def test_another_posterior_coefficient(monkeypatch):
    """The true posterior and the model's mean share it, so one point sees nothing; Gaussian data do."""
    spoil(monkeypatch, "posterior_mean_coef_x_start", lambda values: 1.001 * values)
    assert failures("bound", check_gaussian_bound) == GAUSSIAN_SUMS


def test_another_divergence(monkeypatch):
    monkeypatch.setattr(bound, "normal_kl", lambda *arguments: 1.001 * normal_kl(*arguments))
    failed = failures("bound", check_gaussian_bound)
    assert set(GAUSSIAN_SUMS) < set(failed)
    assert "L_T of |x_0| = 1, bits/dim" in failed


@pytest.mark.parametrize(
    "spoiled", [lambda nats: nats.mean(dim=(1, 2, 3)), lambda nats: nats.sum(dim=(1, 2, 3)) / math.log(2)]
)
def test_nats_for_bits_and_sums_for_means(monkeypatch, spoiled):
    monkeypatch.setattr(bound, "to_bits_per_dim", spoiled)
    assert DECODER in failures("decoder")


def test_an_estimate_that_counts_a_term_wrongly(monkeypatch):
    """n + 1 for n."""
    original = estimate.estimate_bits_per_dim

    def other(*arguments, **more):
        (found,) = original(*arguments, **more)
        return [found._replace(steps_bpd=found.steps_bpd * 2 / 3)]

    monkeypatch.setattr(metrics, "estimate_bits_per_dim", other)
    assert failures("bound", check_point_mass_bound) == ["estimate from 2 timesteps: largest error, bits/dim"]


@pytest.mark.parametrize("half_bin", [1 / 127.5, 1 / 256])
def test_bins_of_another_width(monkeypatch, half_bin):
    monkeypatch.setattr(gaussian, "_HALF_BIN", half_bin)
    failed = failures("decoder")
    assert DECODER in failed
    assert "log probabilities of likely levels: largest error, nats" in failed
    assert "the last level under its own mean, bits" in failed


def test_the_tanh_form_for_the_exact_one(monkeypatch):
    monkeypatch.setattr(gaussian, "normal_cdf", lambda x, form: normal_cdf(x, NormalCdf.TANH))
    failed = failures("decoder")
    assert DECODER in failed
    assert "log probabilities of likely levels: largest error, nats" in failed


def test_the_exact_form_for_the_tanh_one(monkeypatch):
    monkeypatch.setattr(gaussian, "normal_cdf", lambda x, form: normal_cdf(x, NormalCdf.EXACT))
    assert failures("decoder") == ["one point: L_0, tanh form of Phi, bits/dim"]


def test_closed_edges(monkeypatch):
    """-1 and 1 treated as any level between: probability is lost beyond them."""
    original = gaussian.discretized_gaussian_log_likelihood
    monkeypatch.setattr(
        metrics,
        "discretized_gaussian_log_likelihood",
        lambda x, mean, log_std: original(0.99 * x.sign() * (x.abs() > 0.999) + x * (x.abs() <= 0.999), mean, log_std),
    )
    assert "the last level under its own mean, bits" in failures("decoder")


def test_levels_truncated(monkeypatch):
    monkeypatch.setattr(metrics, "to_uint8", lambda images: ((images + 1) * 127.5).to(torch.uint8))
    assert failures("decoder") == ["levels of 256 that change on the way to [-1, 1] and back"]


def test_the_covariance_of_a_population(monkeypatch):
    def divided_by_count(self):
        return (self.outer - self.count * torch.outer(self.mean, self.mean)) / self.count

    monkeypatch.setattr(FeatureStats, "covariance", property(divided_by_count))
    assert len(failures("frechet")) == 2


def test_covariances_taken_to_commute(monkeypatch):
    def of_roots(a, b):
        return (a.diagonal().sqrt() * b.diagonal().sqrt()).sum()

    monkeypatch.setattr(frechet, "_trace_of_root", of_roots)
    assert "two known Gaussians: distance" in failures("frechet")


def test_parts_that_overwrite_each_other(monkeypatch):
    monkeypatch.setattr(FeatureStats, "merge", lambda self, other: other)
    assert failures("frechet") == ["covariance of 64 vectors in two parts: largest error"]
