"""Our schedule in diffusers' words, and back: the settings of a DDPMScheduler."""

from typing import NamedTuple

import torch

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.schedule import NoiseSchedule
from flows.exchange.foreign_settings import VERSION, ForeignSettings, Settings
from flows.snapshot import make_schedule
from infra.errors import ConfigError

_MOST_TIMESTEPS = 100_000

# Settings of which our sampler, or our record of a network, is one case.
_CASES: Settings = {"clip_sample": True, "clip_sample_range": 1.0, "thresholding": False, "steps_offset": 0}
# diffusers' defaults for settings that a folder leaves out.
_DEFAULTS: Settings = _CASES | {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "variance_type": "fixed_small",
    "prediction_type": "epsilon",
    "dynamic_thresholding_ratio": 0.995,  # this and the next belong to thresholding, which is refused
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}
# Our kinds of schedule that diffusers computes too, to the last digit or two of float32.
_SCHEDULES = {"linear": "linear", "quadratic": "scaled_linear", "cosine": "squaredcos_cap_v2"}
_SIGMOID = "sigmoid"  # of the betas themselves; our kind of that name is of alpha-bar
_PREDICTIONS = {Parameterisation.EPS: "epsilon", Parameterisation.X_START: "sample", Parameterisation.V: "v_prediction"}
# diffusers' `learned` is a variance, ours its logarithm, so it is left out; so is diffusers' `fixed_large_log`, which
# takes the square root of a (negative) log variance.
_VARIANCES = {
    "fixed_small": Variance.FIXED_SMALL,
    "fixed_small_log": Variance.FIXED_SMALL,
    "fixed_large": Variance.FIXED_LARGE,
    "learned_range": Variance.LEARNED_RANGE,
}


class Process(NamedTuple):
    """A scheduler's settings in our words: the arguments of `make_schedule`, and the outputs of the network."""

    schedule: Settings
    parameterisation: Parameterisation
    variance: Variance


def scheduler_settings(
    about: Settings, schedule: NoiseSchedule, parameterisation: Parameterisation, variance: Variance, item: str
) -> Settings:
    """The settings of a DDPMScheduler with our betas, stepping as our ancestral sampler does, respaced or not.

    Args:
        about: The arguments of `make_schedule` that gave the schedule.
        schedule: The schedule.
        parameterisation: The quantity that the network predicts.
        variance: The variance of the reverse steps.
        item: The snapshot, for messages.

    Raises:
        ConfigError: If diffusers does not have the parameterisation or the variance.
    """
    if parameterisation not in _PREDICTIONS:
        raise ConfigError(f"diffusers has no prediction_type for {parameterisation.value}", item=item)
    if variance not in _VARIANCES.values():
        raise ConfigError(f"diffusers has no variance_type for {variance.value}", item=item)
    named = None if about.get("zero_terminal_snr") else _SCHEDULES.get(about["kind"])
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": VERSION,
        **_DEFAULTS,
        "num_train_timesteps": schedule.num_timesteps,
        "beta_start": about["beta_start"],
        "beta_end": about["beta_end"],
        "beta_schedule": named or "linear",
        "trained_betas": None if named else schedule.betas.tolist(),
        "variance_type": variance.value,
        "prediction_type": _PREDICTIONS[parameterisation],
        "timestep_spacing": "linspace",
    }


def foreign_process(given: Settings, item: str) -> Process:
    """The schedule, parameterisation and variance that a DDPMScheduler's settings describe.

    Raises:
        ConfigError: If we have no such schedule or task; names the setting.
    """
    settings = ForeignSettings(given, _DEFAULTS, "DDPMScheduler", item)
    settings.check_cases(_CASES)
    settings.one_of("timestep_spacing", ("leading", "linspace", "trailing"))  # all the same if no timestep is left out
    prediction = settings.one_of("prediction_type", tuple(_PREDICTIONS.values()))
    parameterisation = next(ours for ours, theirs in _PREDICTIONS.items() if theirs == prediction)
    variance = _VARIANCES[settings.one_of("variance_type", tuple(_VARIANCES))]
    about = _schedule(settings)
    try:
        schedule = make_schedule(**about)
    except ValueError as error:
        raise ConfigError(f"is not a schedule of ours ({error})", item=item) from error
    if schedule.zero_terminal_snr and parameterisation is Parameterisation.EPS:
        settings.refuse("prediction_type", "v_prediction or sample if the last of alphas_cumprod is 0")
    return Process(about, parameterisation, variance)


def _schedule(settings: ForeignSettings) -> Settings:
    """Return the arguments of `make_schedule`: by name if it has the schedule, else with the table of betas."""
    length = settings.whole("num_train_timesteps", _MOST_TIMESTEPS)
    about = {
        "num_timesteps": length,
        "beta_start": settings.number("beta_start"),
        "beta_end": settings.number("beta_end"),
        "zero_terminal_snr": settings["rescale_betas_zero_snr"],
    }
    if type(about["zero_terminal_snr"]) is not bool:
        settings.refuse("rescale_betas_zero_snr", "true or false")
    if settings["trained_betas"] is not None:
        betas = settings.numbers("trained_betas")
        if len(betas) != length:
            settings.refuse("trained_betas", f"as many as num_train_timesteps, {length}; these are {len(betas)}")
        return about | {"kind": "custom", "betas": betas}
    name = settings.one_of("beta_schedule", (*_SCHEDULES.values(), _SIGMOID))
    if name == _SIGMOID:
        rising = torch.sigmoid(torch.linspace(-6, 6, length, dtype=torch.float64))
        betas = rising * (about["beta_end"] - about["beta_start"]) + about["beta_start"]
        return about | {"kind": "custom", "betas": betas.tolist()}
    return about | {"kind": next(ours for ours, theirs in _SCHEDULES.items() if theirs == name)}
