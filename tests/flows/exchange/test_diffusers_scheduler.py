"""diffusers' DDPMScheduler has our betas, and its steps are our sampler's."""

import inspect
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.schedule import respace
from flows.exchange import diffusers_scheduler
from flows.exchange.diffusers_scheduler import Process, foreign_process, scheduler_settings
from flows.snapshot import make_schedule
from flows.stages.train.config import ScheduleKind
from infra.errors import ConfigError
from tests.oracles.unet import randn

EPS, V = Parameterisation.EPS, Parameterisation.V
KINDS = [kind for kind in get_args(ScheduleKind) if kind != "jsd"]
EMPTY_AT_THE_END = [("jsd", False), ("linear", True), ("cosine", True)]


def about(kind: str = "linear", num_timesteps: int = 1000, **more: Any) -> dict[str, Any]:
    # The scaled ones of a short chain need small betas, or the last is above 1.
    return {"kind": kind, "num_timesteps": num_timesteps, "beta_start": 1e-4, "beta_end": 0.015} | more


def export(
    arguments: dict[str, Any], parameterisation: Parameterisation = EPS, variance: Variance = Variance.FIXED_LARGE
) -> dict[str, Any]:
    return scheduler_settings(arguments, make_schedule(**arguments), parameterisation, variance, "a")


def scheduler(settings: dict[str, Any]) -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(settings)


@pytest.mark.parametrize("num_timesteps", [20, 1000])
@pytest.mark.parametrize(
    ("kind", "empty"), [*((kind, False) for kind in KINDS), *EMPTY_AT_THE_END], ids=lambda value: str(value)
)
def test_betas_are_equal_to_float32(kind: str, empty: bool, num_timesteps: int) -> None:
    arguments = about(kind, num_timesteps, zero_terminal_snr=empty)
    ours, theirs = make_schedule(**arguments), scheduler(export(arguments, V))
    # Those written as a table are equal; those that diffusers computes, in float32, to its last digits.
    torch.testing.assert_close(theirs.betas, ours.betas.float(), rtol=5e-7, atol=1e-12)
    torch.testing.assert_close(theirs.alphas_cumprod, ours.alphas_cumprod.float(), rtol=2e-5, atol=2e-7)


@pytest.mark.parametrize(("kind", "empty"), [*((kind, False) for kind in KINDS), *EMPTY_AT_THE_END])
def test_schedules_there_and_back(kind: str, empty: bool) -> None:
    arguments = about(kind, 50, zero_terminal_snr=empty)
    found = foreign_process(export(arguments, V, Variance.FIXED_SMALL), "")
    assert found[1:] == (V, Variance.FIXED_SMALL)
    assert torch.equal(make_schedule(**found.schedule).betas, make_schedule(**arguments).betas)
    if kind in ("linear", "quadratic", "cosine") and not empty:
        assert found.schedule == arguments
    else:
        assert found.schedule["kind"] == "custom"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_schedule": "scaled_linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "sigmoid"},
        {"trained_betas": [0.1, 0.2, 0.5], "num_train_timesteps": 3},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"beta_start": 0.02, "beta_end": 0.02, "num_train_timesteps": 50},
    ],
    ids=str,
)
def test_their_schedules_as_ours(settings: dict[str, Any]) -> None:
    theirs, ours = scheduler(settings), make_schedule(**foreign_process(settings, "").schedule)
    # Rescaling in float32, as they do, loses digits of small betas.
    tolerance = 1e-3 if "rescale_betas_zero_snr" in settings else 1e-6
    torch.testing.assert_close(ours.betas.float(), theirs.betas, rtol=tolerance, atol=2e-7)
    torch.testing.assert_close(ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=2e-5, atol=2e-7)


def model(channels: int) -> Any:
    """A network of nonlinear arithmetic that looks at every part of its arguments."""

    def output(x_t: Tensor, t: Tensor) -> Tensor:
        mean = torch.sin(x_t + t.reshape(-1, 1, 1, 1) / 40 + torch.arange(16.0).reshape(4, 4))
        return torch.cat((mean, torch.cos(3 * x_t)), 1)[:, :channels]

    return output


@pytest.mark.parametrize(
    ("parameterisation", "variance", "kind", "steps"),
    [
        (EPS, Variance.FIXED_LARGE, "linear", 100),
        (EPS, Variance.FIXED_SMALL, "quadratic", 100),
        (EPS, Variance.LEARNED_RANGE, "cosine", 100),
        (V, Variance.FIXED_LARGE, "jsd", 100),
        (V, Variance.LEARNED_RANGE, "sigmoid", 100),
        (Parameterisation.X_START, Variance.FIXED_LARGE, "warmup10", 100),
        (EPS, Variance.FIXED_LARGE, "linear", 7),
        (V, Variance.FIXED_SMALL, "constant", 30),
    ],
)
def test_whole_chains_are_equal(
    parameterisation: Parameterisation, variance: Variance, kind: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = about(kind, 100, beta_start=1e-3)  # of 1e-4, their float32 loses digits in 1 - alphas_cumprod
    theirs, schedule = scheduler(export(arguments, parameterisation, variance)), make_schedule(**arguments)
    network, x_T = model(2 if variance.is_learned else 1), randn(2, 1, 4, 4)
    noise = {t: randn(2, 1, 4, 4, seed=t) for t in range(steps)}
    ours = ddpm_sample(
        network,
        respace(schedule, steps),
        x_T,
        noise=noise.__getitem__,
        variance=variance,
        parameterisation=parameterisation,
    )

    theirs.set_timesteps(steps)
    x_t, left = x_T, [steps]

    def given(*_: object, **__: object) -> Tensor:
        return noise[left[0]]

    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", given)
    for t in theirs.timesteps:
        left[0] -= 1
        x_t = theirs.step(network(x_t, t.expand(2)), t, x_t).prev_sample
    assert left == [0]
    assert float(x_t.std()) > 0.05
    torch.testing.assert_close(ours, x_t, rtol=0, atol=1e-4)


def test_defaults_are_those_of_diffusers() -> None:
    from diffusers import DDPMScheduler

    parameters = inspect.signature(DDPMScheduler.__init__).parameters
    theirs = {name: parameter.default for name, parameter in parameters.items() if name != "self"}
    assert theirs == diffusers_scheduler._DEFAULTS


def test_published_settings() -> None:
    """Those of google/ddpm-cat-256, written by an early version."""
    published = {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.1.1",
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "clip_sample": True,
        "num_train_timesteps": 1000,
        "trained_betas": None,
        "variance_type": "fixed_small",
    }
    linear = about(beta_end=0.02, zero_terminal_snr=False)
    assert foreign_process(published, "") == Process(linear, EPS, Variance.FIXED_SMALL)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"beta_schedule": "laplace"}, 'beta_schedule is "laplace"; we can represent linear or scaled_linear or squared'),
    ({"beta_schedule": "exp"}, 'beta_schedule is "exp"'),
    ({"trained_betas": [0.1, 0.2]}, "trained_betas is .*as many as num_train_timesteps, 1000; these are 2"),
    ({"trained_betas": "0.1"}, 'trained_betas is "0.1"; we can represent a list of finite numbers'),
    ({"trained_betas": [0.1, 1.5], "num_train_timesteps": 2}, r"betas must lie in \(0, 1\]"),
    ({"trained_betas": [0.1, float("nan")], "num_train_timesteps": 2}, "trained_betas is .*finite numbers"),
    ({"beta_end": 1.5}, r"is not a schedule of ours \(betas must lie in \(0, 1\]"),
    ({"beta_start": "0.1"}, 'beta_start is "0.1"; we can represent finite numbers'),
    ({"num_train_timesteps": 1}, "is not a schedule of ours .a schedule needs at least 2 timesteps; got 1"),
    (
        {"num_train_timesteps": 100_001},
        "num_train_timesteps is 100001; we can represent whole numbers from 1 to 100000",
    ),
    ({"variance_type": "learned"}, 'variance_type is "learned"; we can represent fixed_small or'),
    ({"variance_type": "fixed_large_log"}, 'variance_type is "fixed_large_log"'),
    ({"clip_sample": False}, "clip_sample is false; we can represent true only"),
    ({"clip_sample_range": 2.0}, "clip_sample_range is 2.0; we can represent 1.0 only"),
    ({"thresholding": True}, "thresholding is true; we can represent false only"),
    ({"steps_offset": 1}, "steps_offset is 1; we can represent 0 only"),
    ({"timestep_spacing": "log"}, 'timestep_spacing is "log"; we can represent leading or linspace or trailing'),
    ({"prediction_type": "flow"}, 'prediction_type is "flow"; we can represent epsilon or sample or v_prediction'),
    ({"rescale_betas_zero_snr": True}, 'prediction_type is "epsilon"; we can represent v_prediction or sample if'),
    ({"rescale_betas_zero_snr": "yes"}, 'rescale_betas_zero_snr is "yes"; we can represent true or false'),
    ({"solver_order": 2}, "solver_order is not a setting of DDPMScheduler that we know; it is 2"),
    ({"_class_name": "DDIMScheduler"}, '_class_name is "DDIMScheduler"; we can represent DDPMScheduler'),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_our_schedule_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^s.json: .*{message}") as caught:
        foreign_process(export(about()) | changes, "s.json")
    assert "\n" not in str(caught.value)


def test_what_diffusers_has_no_word_for() -> None:
    with pytest.raises(ConfigError, match=r"^a: diffusers has no prediction_type for x_prev"):
        export(about(), Parameterisation.X_PREV)
    with pytest.raises(ConfigError, match=r"^a: diffusers has no variance_type for learned$"):
        export(about(), variance=Variance.LEARNED)
