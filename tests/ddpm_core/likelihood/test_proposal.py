"""Draws follow the probabilities, and weights undo them."""

import pytest
import torch

from ddpm_core.likelihood.proposal import TimestepProposal


def test_a_proposal_draws_its_probabilities():
    proposal = TimestepProposal(torch.tensor([0.5, 0.2, 0.25, 0.05], dtype=torch.float64))
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    assert torch.bincount(proposal.draw(u)).tolist() == [1000, 400, 500, 100]
    assert proposal.draw(torch.tensor([1e-12, 1 - 1e-12], dtype=torch.float64)).tolist() == [0, 3]


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
