import math

import pytest
import torch

from ddpm_core.ema import update_ema
from ddpm_core.power_ema import (
    LONGEST_SIGMA_REL,
    PowerProfile,
    gamma_of,
    profile_weights,
    reconstruction,
    sigma_rel_of,
    step_decay,
)

STORED_LENGTHS = (0.05, 0.1)


def walk(steps: int, size: int = 7) -> torch.Tensor:
    """Weights that move at random around 3: row k - 1 holds those after step k."""
    moves = torch.randn(steps, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 3 + moves.cumsum(0) / math.sqrt(steps)


def kept_average(weights: torch.Tensor, profile: PowerProfile) -> torch.Tensor:
    """The average as training keeps it, by the recursion."""
    average = torch.full_like(weights[0], math.nan)
    for k in range(1, profile.step + 1):
        if k == 1:
            average = weights[0].clone()
        else:
            update_ema([average], [weights[k - 1]], step_decay(k, profile.gamma))
    return average


def equal_points(steps: int, points: int) -> list[PowerProfile]:
    ends = [steps * (number + 1) // points for number in range(points)]
    return [PowerProfile(end, gamma_of(length)) for end in ends for length in STORED_LENGTHS]


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_the_exponents_are_those_of_the_paper(sigma_rel, gamma):
    assert gamma_of(sigma_rel) == pytest.approx(gamma, abs=0.005)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 6.94, 16.97, 100.0, 1e5])
def test_an_exponent_is_found_again_from_its_length(gamma):
    assert gamma_of(sigma_rel_of(gamma)) == pytest.approx(gamma, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 2.5, 16.97])
def test_the_length_is_the_standard_deviation_of_the_profile(gamma):
    """By quadrature of the density (gamma + 1) tau^gamma."""
    tau = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    density = (gamma + 1) * tau**gamma
    mean = (density * tau).mean()
    assert sigma_rel_of(gamma) == pytest.approx(float((density * (tau - mean) ** 2).mean().sqrt()), rel=1e-6)


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.2887, math.nan])
def test_a_length_out_of_range_is_refused(sigma_rel):
    with pytest.raises(ValueError, match="sigma_rel must be above 0"):
        gamma_of(sigma_rel)


@pytest.mark.parametrize("gamma", [-0.1, math.nan])
def test_a_negative_exponent_is_refused(gamma):
    with pytest.raises(ValueError, match="at least 0"):
        sigma_rel_of(gamma)


def test_the_longest_average_is_the_plain_mean():
    weights, longest = walk(50), PowerProfile(50, gamma_of(LONGEST_SIGMA_REL))
    torch.testing.assert_close(kept_average(weights, longest), weights.mean(0))


def test_the_first_step_copies_the_weights_and_there_is_none_before():
    assert step_decay(1, 5.0) == 0
    with pytest.raises(ValueError, match="count from 1"):
        step_decay(0, 5.0)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.1, 0.25])
def test_the_recursion_is_the_weighted_sum(sigma_rel):
    weights, profile = walk(300), PowerProfile(300, gamma_of(sigma_rel))
    shares = profile_weights(profile, 1, 300)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-13)
    torch.testing.assert_close(kept_average(weights, profile), shares @ weights, rtol=1e-13, atol=0)


def test_the_shares_telescope_as_powers():
    """By exact integers: (k^4 - (k-1)^4) / t^4 for gamma = 3; steps past t weigh nothing."""
    expected = torch.tensor([(k**4 - (k - 1) ** 4) / 9**4 for k in range(4, 10)] + [0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(profile_weights(PowerProfile(9, 3.0), 4, 11), expected, rtol=1e-14, atol=0)


def test_inner_products_approach_those_of_the_continuous_profiles():
    """Karras et al. 2024, appendix C: (g + 1)(h + 1) (s / t)^h / ((g + h + 1) t) for s <= t, by another way."""
    (s, g), (t, h) = PowerProfile(60_000, gamma_of(0.1)), PowerProfile(80_000, gamma_of(0.05))
    discrete = profile_weights(PowerProfile(s, g), 1, t) @ profile_weights(PowerProfile(t, h), 1, t)
    assert float(discrete) == pytest.approx((g + 1) * (h + 1) * (s / t) ** h / ((g + h + 1) * t), rel=1e-6)
    tau = (torch.arange(400_000, dtype=torch.float64) + 0.5) * s / 400_000
    product = (g + 1) * tau**g / s ** (g + 1) * (h + 1) * tau**h / t ** (h + 1)
    assert float(discrete) == pytest.approx(float(product.mean()) * s, rel=1e-6)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.075, 0.15, 0.2])
def test_a_rebuilt_average_is_the_combination_of_profiles_and_as_near_as_promised(sigma_rel):
    weights, stored, target = walk(480), equal_points(480, 8), PowerProfile(480, gamma_of(sigma_rel))
    found = reconstruction(stored, target)
    rebuilt = found.coefficients @ torch.stack([kept_average(weights, profile) for profile in stored])
    combined = found.coefficients @ torch.stack([profile_weights(profile, 1, 480) for profile in stored])
    torch.testing.assert_close(rebuilt, combined @ weights, rtol=1e-12, atol=0)
    wanted = profile_weights(target, 1, 480)
    assert found.relative_error == pytest.approx(float((combined - wanted).norm() / wanted.norm()), rel=1e-9)
    assert found.amplification == pytest.approx(float(found.coefficients.abs().sum()))
    spread = (weights - weights.mean(0)).norm()
    distance = (rebuilt - kept_average(weights, target)).norm()
    assert 0 < float(distance) <= found.relative_error * float(wanted.norm() * spread)


@pytest.mark.parametrize("sigma_rel", [0.04, 0.075, 0.15, 0.2])
def test_more_points_rebuild_better(sigma_rel):
    target = PowerProfile(960, gamma_of(sigma_rel))
    errors = [reconstruction(equal_points(960, points), target).relative_error for points in (4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def test_the_coefficients_minimise_the_profile_error():
    """A second derivation: the normal equations with a Lagrange multiplier, and random moves that make it worse."""
    stored, target = equal_points(480, 4), PowerProfile(480, gamma_of(0.15))
    profiles = torch.stack([profile_weights(profile, 1, 480) for profile in stored])
    wanted, ones = profile_weights(target, 1, 480), torch.ones(8, 1, dtype=torch.float64)
    gram = torch.cat((torch.cat((profiles @ profiles.T, ones), 1), torch.cat((ones.T, torch.zeros(1, 1).double()), 1)))
    solved = torch.linalg.solve(gram, torch.cat((profiles @ wanted, torch.ones(1).double())))[:-1]
    found = reconstruction(stored, target).coefficients
    torch.testing.assert_close(found, solved, rtol=1e-6, atol=1e-9)
    least = (found @ profiles - wanted).norm()
    moves = torch.randn(20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 100
    assert all(((found + move - move.mean()) @ profiles - wanted).norm() > least for move in moves)


def test_a_stored_average_is_returned_exactly():
    stored = equal_points(120, 3)
    found = reconstruction(stored, stored[5])
    assert found.coefficients.tolist() == [0, 0, 0, 0, 0, 1]
    assert (found.relative_error, found.amplification) == (0, 1)


def test_weights_that_do_not_move_are_rebuilt_exactly():
    found = reconstruction(equal_points(64, 2), PowerProfile(64, gamma_of(0.25)))
    assert found.relative_error > 0.1, "the profile itself is far off, so this shows the constraint"
    assert float(found.coefficients.sum()) == pytest.approx(1, abs=1e-14)


def test_steps_in_several_blocks_are_steps_in_one(monkeypatch):
    stored, target = equal_points(480, 8), PowerProfile(480, gamma_of(0.15))
    whole = reconstruction(stored, target)
    monkeypatch.setattr("ddpm_core.power_ema._BLOCK", 100)
    parts = reconstruction(stored, target)
    torch.testing.assert_close(parts.coefficients, whole.coefficients, rtol=1e-9, atol=1e-12)
    assert parts.relative_error == pytest.approx(whole.relative_error, rel=1e-9)


def test_profiles_that_are_almost_or_quite_the_same_do_not_blow_up():
    near = [PowerProfile(step, gamma_of(0.1)) for step in (4000, 4000, *range(3990, 4000))]
    found = reconstruction([*near, PowerProfile(4000, gamma_of(0.1) * (1 + 1e-9))], PowerProfile(4000, gamma_of(0.2)))
    assert math.isfinite(found.relative_error)
    assert found.amplification < 1e4


def test_one_average_stands_for_all_lengths_with_its_error():
    found = reconstruction([PowerProfile(10, 3.0)], PowerProfile(10, 5.0))
    assert found.coefficients.tolist() == [1]
    assert found.relative_error > 0.1


@pytest.mark.parametrize(("stored", "message"), [([], "no average"), ([PowerProfile(11, 3.0)], "later weights")])
def test_an_average_that_cannot_be_rebuilt_is_refused(stored, message):
    with pytest.raises(ValueError, match=message):
        reconstruction(stored, PowerProfile(10, 5.0))
