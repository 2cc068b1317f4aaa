"""The bound, its estimate and the flow stay on their device; only the flow waits for it, once per batch."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Parameterisation, Variance
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim, bits_per_dim_by_variance
from ddpm_core.likelihood.estimate import estimate_bits_per_dim, step_terms
from ddpm_core.likelihood.flow import dequantised, flow_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.rng import Stream, signs, uniform
from ddpm_core.schedule import NoiseSchedule, linear_schedule
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from flows.snapshot import TrainedNetwork
from tests.standin.device import DEVICE, RefusedError, stand_in
from tests.standin.networks import BATCH, SHAPE, ids, images, network, noise

SCHEDULE = linear_schedule(12)
STEPS = SCHEDULE.num_timesteps
MOMENTS = torch.linspace(1, 0.1, 4, dtype=torch.float64)
# Made on the host before a batch begins.
PROPOSAL = TimestepProposal.of_some_second_moments(torch.tensor([0, 2, 5, STEPS - 2]), MOMENTS, STEPS - 1)


def net(**changes: object) -> torch.nn.Module:
    return network(**changes).eval().requires_grad_(False)


def bound(schedule: NoiseSchedule, **more: object) -> torch.Tensor:
    x_start, variances = to_model_range(images()), (*FIXED_VARIANCES, Variance.LEARNED_RANGE)
    draw = more.get("noise", noise(Stream.NLL))
    network = net(learned_variance=True)
    return bits_per_dim_by_variance(network, schedule, x_start, noise=draw, variances=variances)[-1].total_bpd


def one_bound(schedule: NoiseSchedule, **more: object) -> torch.Tensor:
    x_start, draw = to_model_range(images()), more.get("noise", noise(Stream.NLL))
    return bits_per_dim(net(), schedule, x_start, noise=draw).total_bpd


def estimate(schedule: NoiseSchedule, **more: object) -> torch.Tensor:
    return estimate_bits_per_dim(
        net(),
        schedule,
        to_model_range(images()),
        noise=more.get("noise", noise(Stream.NLL)),
        uniforms=uniform(0, Stream.NLL_T, ids(), (3,)).double(),
        proposal=PROPOSAL.to(DEVICE) if "proposal" not in more else more["proposal"],
        variances=FIXED_VARIANCES,
    )[0].total_bpd


TIMESTEPS = torch.tensor([1, 3, 11])


def terms(schedule: NoiseSchedule, **more: object) -> torch.Tensor:
    draw = more.get("noise", noise(Stream.NLL_PROPOSAL))
    return step_terms(net(), schedule, to_model_range(images()), TIMESTEPS, noise=draw)


def flow(schedule: NoiseSchedule, **more: object) -> torch.Tensor:
    x_start = dequantised(to_model_range(images()), uniform(0, Stream.DEQUANTISATION, ids(), SHAPE))
    numbers = ids()
    probe = more.get("noise", lambda t: signs(0, Stream.FLOW_PROBE, numbers, SHAPE, step=t))
    return flow_bits_per_dim(net(), schedule, x_start, probe=probe)


LIKELIHOODS = [bound, one_bound, estimate, terms, flow]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_stays_on_the_device(likelihood: Callable[..., torch.Tensor]) -> None:
    schedule, proposal = SCHEDULE.to(DEVICE), PROPOSAL.to(DEVICE)
    with stand_in() as watch, torch.no_grad():
        found = likelihood(schedule, **({"proposal": proposal} if likelihood is estimate else {}))
    assert (found.device, len(found)) == (DEVICE, BATCH)
    assert len(watch.reads) == (likelihood is flow), watch.reads


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_schedule_of_the_host_is_found(likelihood: Callable[..., torch.Tensor]) -> None:
    proposal = PROPOSAL.to(DEVICE)
    with stand_in(), pytest.raises(RefusedError, match=r"ddpm_core/[\w/]+.py:\d+ "), torch.no_grad():
        likelihood(SCHEDULE, **({"proposal": proposal} if likelihood is estimate else {}))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_value_asked_back_in_a_term_is_found(likelihood: Callable[..., torch.Tensor]) -> None:
    schedule, draw = SCHEDULE.to(DEVICE), noise(Stream.NLL)
    asking = {"noise": lambda t: draw(t) * float(draw(t).mean())}
    if likelihood is estimate:
        asking["proposal"] = PROPOSAL.to(DEVICE)
    with (
        stand_in(),
        pytest.raises(RefusedError, match=r"ddpm_core/likelihood/\w+.py:\d+ .*reads values"),
        torch.no_grad(),
    ):
        likelihood(schedule, **asking)


@pytest.mark.parametrize("classes", [0, 4])
def test_a_batch_of_held_out_images_goes_to_the_device_of_the_stage(classes: int) -> None:
    settings = LikelihoodSettings(images=2, batch_size=BATCH, seed=0, threads=1, device=DEVICE.type)
    whole: Any = SimpleNamespace(facts={"class_names": ["a", "b"], "classes": {"train": {"0": 1, "1": 1}}})
    inputs = Inputs(settings=settings, dataset=whole, trained=None, store=None)
    network, here = net(num_classes=classes), np.zeros((2, *SHAPE), dtype=np.uint8)
    inputs.__dict__["snapshot"] = TrainedNetwork(network, SCHEDULE.to(DEVICE), Parameterisation.EPS, None)
    inputs.__dict__["_rows"] = {"test": lambda numbers: (here, numbers)}
    with stand_in(with_host=True) as watch, torch.no_grad():
        batch = inputs.batch("test", 0, 2, Stream.NLL, BATCH)
        found = bits_per_dim(batch.model, inputs.snapshot.schedule, batch.x_start, noise=batch.noise)
    assert {part.device for part in (batch.ids, batch.x_start, batch.noise(0), found.total_bpd)} == {DEVICE}
    assert not watch.reads


def test_a_proposal_of_the_host_is_found() -> None:
    schedule = SCHEDULE.to(DEVICE)
    with stand_in(), pytest.raises(RefusedError, match=r"ddpm_core/likelihood/proposal\.py"), torch.no_grad():
        estimate(schedule, proposal=PROPOSAL)
