"""Checks of the power-function averages: the update on a device, and an average rebuilt from others."""

import torch

from ddpm_core.ema import update_ema
from ddpm_core.power_ema import PowerProfile, gamma_of, reconstruction, step_decay
from ddpm_core.selftest.check import Check


def check_averages(device: torch.device) -> list[Check]:
    """Check averages of weights that are 1 after the first step, 2 after the second and so on, by sums of integers.

    With gamma = 3 step k of 9 weighs (k^4 - (k-1)^4) / 9^4, which makes 50,277 / 6,561. With gamma = 1 steps 1..3 weigh
    1, 3 and 5 ninths. Averages at each of three steps span every profile, so there the rebuilt average is exact.
    """
    name = "averages"
    kept = {step: _kept(3.0, step, device) for step in (1, 2, 3, 9)}
    stored = [PowerProfile(step, 3.0) for step in (1, 2, 3)]
    found = reconstruction(stored, PowerProfile(3, 1.0))
    rebuilt = sum(x * kept[profile.step] for x, profile in zip(found.coefficients.tolist(), stored, strict=True))
    return [
        Check(name, "exponent of the length 0.05, by Karras et al.", gamma_of(0.05), 16.97, 0.005),
        Check(name, "exponent of the length 0.10, by Karras et al.", gamma_of(0.1), 6.94, 0.005),
        Check(name, "average of 1..9 with gamma 3", kept[9], 50_277 / 6_561, 1e-5),
        Check(name, "average of 1..3 with gamma 1, rebuilt from gamma 3", rebuilt, 22 / 9, 1e-5),
    ]


def _kept(gamma: float, steps: int, device: torch.device) -> float:
    average = [torch.zeros(2, device=device)]
    for k in range(1, steps + 1):
        update_ema(average, [torch.full((2,), float(k), device=device)], step_decay(k, gamma))
    return float(average[0].mean())
