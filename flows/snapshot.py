"""A snapshot: the averaged weights, with the config that built the network and its schedule."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_core.network.unet import UNet, UNetConfig
from ddpm_core.objective import Loss, Objective
from ddpm_core.prediction import Parameterisation
from ddpm_core.reverse import Variance
from ddpm_core.schedule import (
    NoiseSchedule,
    constant_schedule,
    cosine_schedule,
    custom_schedule,
    jsd_schedule,
    linear_schedule,
    quadratic_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
    warmup_schedule,
    with_zero_terminal_snr,
)
from flows.config import TrainConfig
from infra.checkpoint import decode_tensors, encode_tensors
from infra.errors import InputError, IntegrityError


class Snapshot(NamedTuple):
    """A trained network, ready to use.

    Attributes:
        network: In evaluation mode; of its classes, if any, the last stands for no label.
        schedule: It was trained with.
        parameterisation: What it predicts.
        variance: The one it learned, if any.
    """

    network: UNet
    schedule: NoiseSchedule
    parameterisation: Parameterisation
    variance: Variance | None


def make_schedule(
    kind: str,
    num_timesteps: int,
    beta_start: float,
    beta_end: float,
    *,
    zero_terminal_snr: bool = False,
    betas: Sequence[float] = (),
) -> NoiseSchedule:
    """Build the training schedule that a config names, or the `custom` one of a table of betas."""
    if kind == "custom":
        if len(betas) != num_timesteps:
            raise ValueError(f"a schedule of {num_timesteps} timesteps needs as many betas; got {len(betas)}")
        schedule = custom_schedule(torch.tensor(betas, dtype=torch.float64))
    else:
        schedule = _named_schedule(kind, num_timesteps, beta_start, beta_end)
    return with_zero_terminal_snr(schedule) if zero_terminal_snr else schedule


def _named_schedule(kind: str, num_timesteps: int, beta_start: float, beta_end: float) -> NoiseSchedule:
    makers: dict[str, Callable[[], NoiseSchedule]] = {
        "linear": lambda: linear_schedule(num_timesteps, beta_start, beta_end),
        "scaled_linear": lambda: scaled_linear_schedule(num_timesteps, beta_start, beta_end),
        "quadratic": lambda: quadratic_schedule(num_timesteps, beta_start, beta_end),
        "cosine": lambda: cosine_schedule(num_timesteps),
        "sigmoid": lambda: sigmoid_schedule(num_timesteps),
        "constant": lambda: constant_schedule(num_timesteps, beta_end),
        "jsd": lambda: jsd_schedule(num_timesteps),
        "warmup10": lambda: warmup_schedule(num_timesteps, beta_start, beta_end, 0.1),
        "warmup50": lambda: warmup_schedule(num_timesteps, beta_start, beta_end, 0.5),
    }
    if kind not in makers:
        raise ValueError(f"schedule must be one of {', '.join(makers)}; got {kind!r}")
    return makers[kind]()


def schedule_settings(config: TrainConfig) -> dict[str, Any]:
    """The arguments of `make_schedule` that a config stands for."""
    return {
        "kind": config.schedule,
        "num_timesteps": config.num_timesteps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "zero_terminal_snr": config.zero_terminal_snr,
    }


def make_objective(config: TrainConfig) -> Objective:
    """What a config trains for."""
    return Objective(
        loss=Loss(config.loss),
        parameterisation=Parameterisation(config.parameterisation),
        variance=Variance.FIXED_LARGE if config.variance == "fixed" else Variance(config.variance),
        min_snr_gamma=config.min_snr_gamma,
    )


def channels_last(network: UNet) -> UNet:
    """Keep the convolutions' weights with the channels last in memory: the faster layout on processors and GPUs."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def encode_snapshot(
    weights: dict[str, Tensor],
    unet: UNetConfig,
    schedule: dict[str, Any],
    images_seen: int,
    *,
    parameterisation: Parameterisation = Parameterisation.EPS,
    variance: Variance | None = None,
) -> bytes:
    """Write a snapshot as safetensors bytes; see `Snapshot`."""
    about = {
        "unet": asdict(unet),
        "schedule": schedule,
        "images_seen": images_seen,
        "parameterisation": parameterisation.value,
        "variance": variance.value if variance else "fixed",
    }
    return encode_tensors(weights, about)


def decode_snapshot(data: bytes, item: str) -> Snapshot:
    """Build the network and its schedule from a snapshot's bytes.

    Raises:
        IntegrityError: If the bytes are no snapshot.
    """
    weights, about = decode_tensors(data, item)
    try:
        shape: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in about["unet"].items()
        }
        network = UNet(UNetConfig(**shape), seed=None)
        network.load_state_dict(weights)
        schedule = make_schedule(**about["schedule"])
        parameterisation = Parameterisation(about["parameterisation"])
        variance = None if about["variance"] == "fixed" else Variance(about["variance"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise IntegrityError(f"is not a snapshot ({error})".splitlines()[0], item=item) from error
    return Snapshot(network.eval().requires_grad_(False), schedule, parameterisation, variance)


def load_snapshot(uri: str) -> Snapshot:
    """Load a snapshot file, such as train/<key>/snapshots/<images>.<digest>.safetensors below a root."""
    try:
        return decode_snapshot(Path(uri).read_bytes(), uri)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=uri) from error
