"""Draws follow the probabilities, and weights undo them."""

import math

import pytest
import torch

from ddpm_core.likelihood.estimate import step_terms
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.schedule import linear_schedule, with_zero_terminal_snr
from tests.oracles.denoisers import gaussian


def test_a_proposal_draws_its_probabilities():
    proposal = TimestepProposal(torch.tensor([0.5, 0.2, 0.25, 0.05], dtype=torch.float64))
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    assert torch.bincount(proposal.draw(u)).tolist() == [1000, 400, 500, 100]
    assert proposal.draw(torch.tensor([1e-12, 1 - 1e-12], dtype=torch.float64)).tolist() == [0, 3]


def test_a_moved_proposal_is_neither_computed_nor_checked_again():
    proposal = TimestepProposal(torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert proposal.to(torch.device("cpu")).probabilities is proposal.probabilities
    assert proposal.to(torch.device("meta")).probabilities.device.type == "meta", "no value can be read there"


def test_weights_keep_the_mean_over_all_timesteps():
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    proposal = TimestepProposal.of_second_moments(losses**2, uniform_share=0.1)
    t = torch.arange(50)
    expected = (proposal.probabilities * proposal.weight(t) * losses).sum()
    torch.testing.assert_close(expected, losses.mean())


def test_drawing_by_second_moments_leaves_no_variance_where_losses_are_constant_at_each_timestep():
    """p_t ~ L_t makes weight * L_t one number: the optimum of importance sampling."""
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.01
    t = torch.arange(50)
    weighted = TimestepProposal.of_second_moments(losses**2, uniform_share=1e-9).weight(t) * losses
    torch.testing.assert_close(weighted, losses.mean().expand(50), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TimestepProposal(torch.tensor([0.5, 0.4], dtype=torch.float64)), "a sum of 0.9"),
        (lambda: TimestepProposal(torch.tensor([1.0, 0.0], dtype=torch.float64)), "a minimum of 0"),
        (lambda: TimestepProposal.of_second_moments(torch.zeros(3, dtype=torch.float64)), "not all 0"),
        (lambda: TimestepProposal.of_second_moments(-torch.ones(3, dtype=torch.float64)), "got -1"),
        (lambda: TimestepProposal.of_second_moments(torch.ones(3, dtype=torch.float64), 0.0), "uniform_share"),
    ],
)
def test_what_is_no_proposal(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_between_some_timesteps_the_root_is_linear():
    places = torch.tensor([0, 2, 5])
    found = TimestepProposal.of_some_second_moments(places, torch.tensor([9.0, 1.0, 16.0]).double(), 6, 0.01)
    every = torch.tensor([3.0, 2.0, 1.0, 2.0, 3.0, 4.0]).double() ** 2
    torch.testing.assert_close(found.probabilities, TimestepProposal.of_second_moments(every, 0.01).probabilities)


def test_all_timesteps_are_some():
    moments = torch.rand(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = TimestepProposal.of_some_second_moments(torch.arange(7), moments, 7)
    torch.testing.assert_close(found.probabilities, TimestepProposal.of_second_moments(moments).probabilities)


def test_a_single_timestep_has_all_the_probability():
    found = TimestepProposal.of_some_second_moments(torch.tensor([0]), torch.tensor([2.0]).double(), 1)
    assert found.probabilities.tolist() == [1]


def test_gaussian_pixels_make_their_proposal_the_terms_themselves():
    """The best denoiser's terms on such pixels, measured, are proportional to it if nothing uniform is mixed in."""
    schedule, drawn = linear_schedule(40, 2e-3, 0.3), torch.Generator().manual_seed(0)
    x_start = 0.5 * torch.randn(4000, 1, 4, 4, generator=drawn, dtype=torch.float64)
    model = gaussian(schedule.alphas_cumprod, 0.0, 0.25)
    noise = lambda _: torch.randn(x_start.shape, generator=drawn, dtype=torch.float64)  # noqa: E731
    t = torch.arange(1, 40)
    terms = step_terms(model, schedule, x_start, t, noise=noise, clip_x_start=False).mean(0)
    found = TimestepProposal.of_gaussian_data(schedule, 0.25, uniform_share=1e-12)
    torch.testing.assert_close(found.probabilities, terms / terms.sum(), rtol=0.02, atol=0)


@pytest.mark.parametrize(
    "schedule", [linear_schedule(2), linear_schedule(1000), with_zero_terminal_snr(linear_schedule())]
)
def test_the_uniform_share_bounds_the_weights(schedule):
    found = TimestepProposal.of_gaussian_data(schedule)
    count = schedule.num_timesteps - 1
    assert len(found.probabilities) == count
    assert float(found.weight(torch.arange(count)).max()) <= 5.0000001
    assert math.isclose(float(found.probabilities.sum()), 1)
