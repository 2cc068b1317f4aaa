"""Heun's method for the probability flow against the flow of Gaussian data."""

import pytest
import torch

from ddpm_core.choices import Parameterisation
from ddpm_core.samplers.ode import ode_sample
from ddpm_core.schedule import linear_schedule, respace, with_zero_terminal_snr
from tests.ddpm_core.samplers.noise import zeros
from tests.oracles.denoisers import point_mass
from tests.oracles.flow import errors

LINEAR = linear_schedule()
SHORT = respace(LINEAR, 50)


def test_the_ode_is_solved_to_second_order():
    coarse, fine, finest = errors(ode_sample, (50, 100, 200))
    assert coarse / fine == pytest.approx(4, rel=0.1)
    assert fine / finest == pytest.approx(4, rel=0.1)
    assert finest < 1e-3


def test_the_ode_has_no_start_at_infinity():
    with pytest.raises(ValueError, match="use ddim_sample"):
        ode_sample(lambda x, t: x, with_zero_terminal_snr(LINEAR), zeros(0), parameterisation=Parameterisation.V)


def test_the_odes_steps_show_x_0():
    seen: list[tuple[int, torch.Tensor]] = []
    x_start = torch.full((2, 1, 2, 2), 0.4, dtype=torch.float64)
    out = ode_sample(
        point_mass(LINEAR.alphas_cumprod, x_start), SHORT, zeros(0).double(), on_step=lambda t, x: seen.append((t, x))
    )
    assert [t for t, _ in seen] == list(range(49, -1, -1))
    for _, x in seen:
        torch.testing.assert_close(x, x_start)
    torch.testing.assert_close(out, x_start)
