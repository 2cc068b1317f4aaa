"""All checks that this installation computes correctly on a device, on data with known answers."""

from collections.abc import Callable, Iterable

import torch

from ddpm_core.selftest.averages import check_averages
from ddpm_core.selftest.check import Check
from ddpm_core.selftest.metrics import check_decoder, check_frechet, check_gaussian_bound, check_point_mass_bound
from ddpm_core.selftest.network import check_network, check_training
from ddpm_core.selftest.process import (
    check_forward,
    check_posterior,
    check_randomness,
    check_reverse_step,
    check_schedule,
)
from ddpm_core.selftest.samplers import check_ancestral, check_ddim, check_langevin, check_ode, check_respaced

__all__ = ["FAMILIES", "Check", "Family", "run_selftest"]

Family = Callable[[torch.device], list[Check]]

# Each family rests on those before it, so the first that fails is the likely cause.
FAMILIES: tuple[tuple[str, Family], ...] = (
    ("randomness", check_randomness),
    ("schedule", check_schedule),
    ("forward", check_forward),
    ("posterior", check_posterior),
    ("reverse step", check_reverse_step),
    ("decoder", check_decoder),
    ("bound", check_point_mass_bound),
    ("bound", check_gaussian_bound),
    ("ancestral", check_ancestral),
    ("ancestral", check_respaced),
    ("ddim", check_ddim),
    ("ode", check_ode),
    ("langevin", check_langevin),
    ("frechet", check_frechet),
    ("network", check_network),
    ("training", check_training),
    ("averages", check_averages),
)


def run_selftest(device: torch.device, families: Iterable[tuple[str, Family]] = FAMILIES) -> list[Check]:
    """Compute every family of checks on `device`, in seconds. A seed fixes every draw.

    A family that raises, for example because the device lacks a kernel, counts as one failed check with the error's
    message.

    Args:
        device: The device to test. Tables and figures are float64, networks and drawn images float32, as in a run.
        families: Pairs of a name and the function that returns the family's checks.
    """
    # Building a network advances torch's own generator; the fork puts it back.
    with torch.random.fork_rng(devices=[]):
        return [check for name, family in families for check in _checks_of(name, family, device)]


def _checks_of(name: str, family: Family, device: torch.device) -> list[Check]:
    try:
        return family(device)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        lines = str(error).splitlines() or [""]
        return [Check(name, f"errors raised ({type(error).__name__}: {lines[0]})", 1.0, 0.0, 0.0)]
