"""Noise schedules by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ddpm_core.choices import ScheduleKind
from ddpm_core.schedule import (
    NoiseSchedule,
    constant_schedule,
    cosine_schedule,
    jsd_schedule,
    linear_schedule,
    quadratic_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
    warmup_schedule,
    with_zero_terminal_snr,
)

# Each takes T, the first and the last beta. A kind ignores the betas that are not among the settings it `uses`.
SCHEDULES: Mapping[ScheduleKind, Callable[[int, float, float], NoiseSchedule]] = MappingProxyType(
    {
        ScheduleKind.LINEAR: linear_schedule,
        ScheduleKind.SCALED_LINEAR: scaled_linear_schedule,
        ScheduleKind.QUADRATIC: quadratic_schedule,
        ScheduleKind.COSINE: lambda num_timesteps, _start, _end: cosine_schedule(num_timesteps),
        ScheduleKind.SIGMOID: lambda num_timesteps, _start, _end: sigmoid_schedule(num_timesteps),
        ScheduleKind.CONSTANT: lambda num_timesteps, _start, end: constant_schedule(num_timesteps, end),
        ScheduleKind.JSD: lambda num_timesteps, _start, _end: jsd_schedule(num_timesteps),
        ScheduleKind.WARMUP10: lambda num_timesteps, start, end: warmup_schedule(num_timesteps, start, end, 0.1),
        ScheduleKind.WARMUP50: lambda num_timesteps, start, end: warmup_schedule(num_timesteps, start, end, 0.5),
    }
)


def named_schedule(
    kind: ScheduleKind, num_timesteps: int, beta_start: float, beta_end: float, *, zero_terminal_snr: bool = False
) -> NoiseSchedule:
    """Make the schedule of this name.

    Args:
        kind: The shape.
        num_timesteps: T, at least 2.
        beta_start: The first beta, if the kind uses it.
        beta_end: The last beta, if the kind uses it.
        zero_terminal_snr: Rescale the schedule so that alpha-bar_T is 0.
    """
    schedule = SCHEDULES[kind](num_timesteps, beta_start, beta_end)
    return with_zero_terminal_snr(schedule) if zero_terminal_snr else schedule
