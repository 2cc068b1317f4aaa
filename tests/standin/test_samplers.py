"""Every chain of sampling stays on its device and never waits for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Parameterisation, Sampler, StepVariance, Variance
from ddpm_core.rng import Stream
from ddpm_core.samplers.ddim import ddim_invert
from ddpm_core.samplers.interpolation import interpolation_start
from ddpm_core.samplers.langevin import langevin_sample
from ddpm_core.schedule import linear_schedule, respace
from flows.drawing import Drawing
from flows.snapshot import TrainedNetwork
from tests.standin.device import DEVICE, RefusedError, stand_in
from tests.standin.networks import BATCH, SHAPE, ids, network, noise

SCHEDULE = linear_schedule(20)


def trained(**changes: object) -> TrainedNetwork:
    """As a worker holds it: the network is on the device, its schedule not yet."""
    learned = Variance.LEARNED_RANGE if changes.get("learned_variance") else None
    return TrainedNetwork(network(**changes).eval().requires_grad_(False), SCHEDULE, Parameterisation.EPS, learned)


def drawing(net: TrainedNetwork, **settings: object) -> Drawing:
    made = Drawing(trained=net, device=DEVICE, seed=0, num_steps=5, **settings)
    assert made.schedule.num_timesteps == 5, "it is moved to the device before the first chain"
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sampler", list(Sampler))
def test_each_sampler(sampler: Sampler, dtype: torch.dtype) -> None:
    draw = drawing(trained(), sampler=sampler, dtype=dtype, eta=0.5 if sampler is Sampler.DDIM else 0.0)
    with stand_in() as watch, torch.inference_mode():
        assert draw(ids()).device == DEVICE
    assert not watch.reads


@pytest.mark.parametrize("label", [-1, 1])
def test_guidance_and_a_learned_variance(label: int) -> None:
    net = trained(num_classes=4, learned_variance=True)
    draw = drawing(net, guidance_scale=2.0, label=label, variance=StepVariance.LEARNED)
    with stand_in(), torch.inference_mode():
        assert draw(ids()).shape == (BATCH, *SHAPE)


def test_the_chains_beside_the_table() -> None:
    net, schedule = trained().network, respace(SCHEDULE, 4).to(DEVICE)
    x_start = torch.zeros(BATCH, *SHAPE, device=DEVICE)
    fractions = torch.linspace(0, 1, 3, device=DEVICE)
    draw = noise(Stream.Z_T)
    with stand_in(), torch.inference_mode():
        ddim_invert(net, schedule, x_start)
        interpolation_start(schedule, x_start[0], x_start[1], 2, x_start[2], fractions)
        langevin_sample(net, schedule, x_start, noise=lambda t, k: draw(2 * t + k))


READS: dict[str, Callable[[Tensor], object]] = {"a number": lambda x: float(x.std()), "a copy": lambda x: x.cpu()}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_value_asked_back_by_a_step_is_found(sampler: Sampler, read: Callable[[Tensor], object]) -> None:
    draw = drawing(trained(), sampler=sampler)
    with (
        stand_in(),
        pytest.raises(RefusedError, match=r"ddpm_core/samplers/\w+.py:\d+ `on_step"),
        torch.inference_mode(),
    ):
        draw(ids(), lambda _, x: read(x))


@pytest.mark.parametrize("sampler", [Sampler.DDPM, Sampler.DDIM])
def test_noise_of_the_host_is_found(sampler: Sampler) -> None:
    draw = drawing(trained(), sampler=sampler, eta=0.5 if sampler is Sampler.DDIM else 0.0)
    with stand_in(), pytest.raises(RefusedError, match="makes a tensor on the host"), torch.inference_mode():
        draw(torch.arange(BATCH))


def test_a_schedule_of_the_host_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = drawing(trained())
    draw.__dict__["schedule"] = respace(SCHEDULE, 5)
    with stand_in(), pytest.raises(RefusedError, match=r"ddpm_core/samplers/ancestral.py:\d+ .*index"):
        draw(ids())
