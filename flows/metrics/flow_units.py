"""The units of the flow's likelihood: the density of dequantised held-out images under the probability-flow ODE."""

import torch
from torch import Tensor

from ddpm_core.likelihood.flow import dequantised, flow_bits_per_dim, flow_nodes
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, signs, uniform
from flows.metrics.likelihood_inputs import Inputs, finite
from infra.compute.device import repeatable_gradients
from infra.errors import ConfigError

# Images whose activations are kept for their gradient at a time, however large the batch.
_GRADIENT_IMAGES = 32


def flow_terms(inputs: Inputs, start: int, stop: int) -> dict[str, Tensor]:
    """The flow's bits/dim of held-out images start..stop-1, each one level wide with its own noise and probes.

    Two network calls with gradients per image and step of the solver.

    Raises:
        ConfigError: If alpha-bar_T of the network's schedule is 0.
    """
    if inputs.snapshot.schedule.zero_terminal_snr:
        raise ConfigError(
            "the flow ends at infinite noise if alpha-bar_T is 0",
            stage="evaluate",
            item="evaluate.likelihood",
            remedy="leave flow out",
        )
    size = min(_GRADIENT_IMAGES, inputs.settings.batch_size)
    # No inference mode, because the solver asks for gradients; repeatable, because a GPU adds them up in any order.
    with torch.no_grad(), repeatable_gradients(inputs.settings.device):
        parts = [_part(inputs, first, min(first + size, stop), size) for first in range(start, stop, size)]
    return finite({"total_bpd_flow": torch.cat(parts)}, "test", start, stop)


def _part(inputs: Inputs, start: int, stop: int, size: int) -> Tensor:
    settings, snapshot = inputs.settings, inputs.snapshot
    batch = inputs.batch("test", start, stop, Stream.DEQUANTISATION, size)
    first_step = settings.draw * snapshot.schedule.num_timesteps

    def probe(t: int) -> Tensor:
        return signs(settings.seed, Stream.FLOW_PROBE, batch.ids, batch.shape, step=first_step + t)

    uniforms = uniform(settings.seed, Stream.DEQUANTISATION, batch.ids, batch.shape, step=settings.draw)
    found = flow_bits_per_dim(
        _prediction_of(batch.model, batch.shape[0]),
        flow_nodes(snapshot.schedule, settings.flow_steps),
        dequantised(batch.x_start, uniforms),
        parameterisation=snapshot.parameterisation,
        probe=probe,
    )
    return found[: batch.count].cpu()


def _prediction_of(model: Model, channels: int) -> Model:
    """The network without the channels of its variance."""
    return lambda x_t, t: model(x_t, t)[:, :channels]
