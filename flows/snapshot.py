"""A snapshot: the averaged weights, with the config that built the network and its schedule."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ddpm_core.schedule import (
    NoiseSchedule,
    constant_schedule,
    cosine_schedule,
    linear_schedule,
    quadratic_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
    warmup_schedule,
)
from ddpm_core.unet import UNet, UNetConfig
from flows.config import ScheduleKind, TrainConfig
from infra.checkpoint import decode_tensors, encode_tensors
from infra.errors import InputError, IntegrityError


def make_schedule(kind: str, num_timesteps: int, beta_start: float, beta_end: float) -> NoiseSchedule:
    """Build the training schedule that a config names."""
    match kind:
        case "linear":
            return linear_schedule(num_timesteps, beta_start, beta_end)
        case "scaled_linear":
            return scaled_linear_schedule(num_timesteps, beta_start, beta_end)
        case "quadratic":
            return quadratic_schedule(num_timesteps, beta_start, beta_end)
        case "cosine":
            return cosine_schedule(num_timesteps)
        case "sigmoid":
            return sigmoid_schedule(num_timesteps)
        case "constant":
            return constant_schedule(num_timesteps, beta_end)
        case "warmup10" | "warmup50":
            return warmup_schedule(num_timesteps, beta_start, beta_end, int(kind[-2:]) / 100)
        case _:
            raise ValueError(f"schedule must be one of {', '.join(get_args(ScheduleKind))}; got {kind!r}")


def schedule_settings(config: TrainConfig) -> dict[str, Any]:
    """The arguments of `make_schedule` that a config stands for."""
    return {
        "kind": config.schedule,
        "num_timesteps": config.num_timesteps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
    }


def channels_last(network: UNet) -> UNet:
    """Keep the convolutions' weights with the channels last in memory: the faster layout on processors and GPUs."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def encode_snapshot(weights: dict[str, Tensor], unet: UNetConfig, schedule: dict[str, Any], images_seen: int) -> bytes:
    """Write a snapshot as safetensors bytes."""
    return encode_tensors(weights, {"unet": asdict(unet), "schedule": schedule, "images_seen": images_seen})


def decode_snapshot(data: bytes, item: str) -> tuple[UNet, NoiseSchedule]:
    """Build the network, in evaluation mode, and its schedule.

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
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise IntegrityError(f"is not a snapshot ({error})".splitlines()[0], item=item) from error
    return network.eval().requires_grad_(False), schedule


def load_snapshot(uri: str) -> tuple[UNet, NoiseSchedule]:
    """Load a snapshot file, such as train/<key>/snapshots/<images>.<digest>.safetensors below a root."""
    try:
        return decode_snapshot(Path(uri).read_bytes(), uri)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=uri) from error
