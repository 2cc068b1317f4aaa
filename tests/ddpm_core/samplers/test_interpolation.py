import torch

from ddpm_core.diffusion import q_sample
from ddpm_core.samplers.interpolation import interpolation_start
from ddpm_core.schedule import linear_schedule

LINEAR = linear_schedule()


def test_an_interpolation_begins_and_ends_with_its_images():
    first, second, noise = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fractions = torch.tensor([0.0, 0.25, 1.0])
    mixed = interpolation_start(LINEAR, first, second, 300, noise, fractions)
    ends = q_sample(LINEAR, torch.stack((first, second)), torch.tensor([300, 300]), noise.expand(2, -1, -1, -1))
    torch.testing.assert_close(mixed[[0, 2]], ends)
    torch.testing.assert_close(mixed[1], 0.75 * ends[0] + 0.25 * ends[1])
