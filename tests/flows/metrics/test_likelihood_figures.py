"""Figures and errors from the likelihood per image, by numpy's own means and deviations."""

import numpy as np
import pytest
import torch

from flows.artifacts import Figure
from flows.metrics.likelihood_figures import likelihood_figures


def columns(seed: int, *names: str) -> dict[str, torch.Tensor]:
    """Made-up sums of 20 images."""
    rows = torch.rand(len(names), 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return dict(zip(names, rows, strict=True))


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_an_error_is_the_standard_error_of_the_mean() -> None:
    made = columns(0, "prior_bpd", "eps_mse", "total_bpd_fixed_small", "total_bpd_fixed_large", "step_bpd_fixed_large")
    figures = likelihood_figures([made], "a note")
    assert [figure.name for figure in figures[:2]] == ["bits_per_dim_fixed_large", "bits_per_dim_fixed_small"]
    for figure in figures[:2]:
        totals = made[f"total_bpd_{figure.name.removeprefix('bits_per_dim_')}"].numpy()
        assert (figure.value, figure.standard_error) == pytest.approx((totals.mean(), totals.std(ddof=1) / 20**0.5))
        assert (figure.headline, figure.note) == (True, "a note")
    terms = by_name(figures[2:])
    assert terms.keys() == {"prior_bpd", "eps_mse", "step_bpd_fixed_large"}
    assert not any(figure.headline or figure.standard_error for figure in terms.values())
    assert terms["step_bpd_fixed_large"].value == pytest.approx(float(made["step_bpd_fixed_large"].mean()))
    assert terms["step_bpd_fixed_large"].note.endswith("summed, fixed large")


def test_several_draws_also_give_the_error_over_noise() -> None:
    draws = [columns(seed, "total_bpd_estimate_fixed_large", "prior_bpd") for seed in range(3)]
    figures = by_name(likelihood_figures(draws, ""))
    rows = np.stack([draw["total_bpd_estimate_fixed_large"].numpy() for draw in draws])
    figure = figures["bits_per_dim_estimate_fixed_large"]
    assert figure.label == "bits/dim, estimate, fixed large"
    assert figure.value == pytest.approx(rows.mean())
    assert figure.standard_error == pytest.approx(rows.mean(0).std(ddof=1) / 20**0.5)
    noise = figures["bits_per_dim_estimate_fixed_large_noise_stderr"]
    assert noise.value == pytest.approx((rows.var(0, ddof=1).mean() / 3 / 20) ** 0.5)
    assert (noise.headline, noise.standard_error) == (False, None)
    assert list(figures) == [figure.name, noise.name, "prior_bpd"]
