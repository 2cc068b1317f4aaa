"""Each way to break the randomness, a schedule, q or a reverse step is seen, by the family that is about it."""

import pytest

from ddpm_core import diffusion, prediction, rng
from ddpm_core.choices import Variance
from ddpm_core.reverse import p_mean_variance, reverse_log_variance
from ddpm_core.rng import normal, words
from ddpm_core.schedule import alphas_cumprod_schedule, at, cosine_schedule, linear_schedule
from ddpm_core.selftest import process
from tests.ddpm_core.selftest.family import failures, spoil

SWAPPED = {Variance.FIXED_SMALL: Variance.FIXED_LARGE, Variance.FIXED_LARGE: Variance.FIXED_SMALL}


@pytest.mark.parametrize(
    ("constant", "value"),
    [("_WEYL", (0x9E3779B9, 0xBB67AE86)), ("_MULTIPLIERS", (0xD2511F53, 0xCD9E8D59)), ("_ROUNDS", 9)],
)
def test_another_philox(monkeypatch, constant, value):
    monkeypatch.setattr(rng, constant, value)
    assert "Philox4x32-10: words that differ from published ones" in failures("randomness")


def test_another_counter(monkeypatch):
    """The step in the block's place: still random, but not the same numbers."""
    monkeypatch.setattr(
        process, "words", lambda seed, stream, index, n, step=0: words(seed, stream, index, n, step + 1)
    )
    assert "words not from counter (block, index, stream, step)" in failures("randomness")


def test_a_device_with_other_words_and_normals(monkeypatch):
    """Every second call stands for the CPU's."""
    calls = {"words": 0, "normal": 0}

    def other_words(*arguments):
        calls["words"] += 1
        drawn = words(*arguments)
        return drawn ^ 1 if calls["words"] == 2 else drawn

    def other_normal(*arguments):
        calls["normal"] += 1
        return normal(*arguments) * (1.00001 if calls["normal"] == 1 else 1)

    monkeypatch.setattr(process, "words", other_words)
    monkeypatch.setattr(process, "normal", other_normal)
    failed = failures("randomness")
    assert "words of 65,536 that differ from the CPU's" in failed
    assert "normal numbers: largest difference from the CPU's" in failed


@pytest.mark.parametrize(
    ("spoiled", "what"),
    [
        (lambda z: z + 0.03, "mean of z^1"),
        (lambda z: z * 1.05, "mean of z^2"),
        (lambda z: z.clamp(-2.5, 2.5), "mean of z^4"),
        (lambda z: z.flip(-1), "normal numbers by Box-Muller: largest error"),
    ],
)
def test_normals_that_are_not(monkeypatch, spoiled, what):
    monkeypatch.setattr(process, "normal", lambda *arguments: spoiled(normal(*arguments)))
    assert what in failures("randomness")


@pytest.mark.parametrize(
    ("function", "spoiled", "what"),
    [
        ("linear_schedule", lambda: linear_schedule(1000, 1e-4, 0.0200001), "linear, beta"),
        ("cosine_schedule", lambda: cosine_schedule(1000, 0.99), "cosine"),
        ("respace", lambda whole, _: alphas_cumprod_schedule(whole.alphas_cumprod[::20]), "respaced to 50"),
    ],
)
def test_another_schedule(monkeypatch, function, spoiled, what):
    monkeypatch.setattr(process, function, spoiled)
    assert any(failed.startswith(what) for failed in failures("schedule"))


@pytest.mark.parametrize(
    ("table", "change", "what"),
    [
        ("alphas_cumprod", lambda values: values * (1 - 1e-9), "linear, alpha-bar"),
        ("posterior_variance", lambda values: values.roll(1), "linear, posterior variance"),
        ("alphas_cumprod", lambda values: values.roll(1), "errors raised (ValueError: betas must lie in (0, 1]"),
    ],
)
def test_another_table(monkeypatch, table, change, what):
    spoil(monkeypatch, table, change)
    assert any(failed.startswith(what) for failed in failures("schedule"))


def test_tables_read_one_timestep_off(monkeypatch):
    monkeypatch.setattr(diffusion, "at", lambda table, t, like: at(table, (t - 1).clamp(min=0), like))
    assert failures("forward")[:2] == ["x_t in float64: largest error", "x_t in float32: largest error"]
    assert "mean in float64: largest error" in failures("posterior")


def test_tables_in_single_precision(monkeypatch):
    """1 - alpha-bar of a float32 alpha-bar, as recipe.md warns."""
    spoil(monkeypatch, "alphas_cumprod", lambda values: values.float().double())
    assert "x_t in float64: largest error" in failures("forward")


@pytest.mark.parametrize("function", ["predict_x_start", "predict_eps"])
def test_eq_4_solved_wrongly(monkeypatch, function):
    original = getattr(prediction, function)
    monkeypatch.setattr(process, function, lambda *arguments: 1.001 * original(*arguments))
    assert len(failures("forward")) == 1


@pytest.mark.parametrize(
    ("table", "change", "what"),
    [
        ("posterior_mean_coef_x_t", lambda values: 1.00001 * values, "mean in float32: largest error"),
        ("posterior_mean_coef_x_start", lambda values: values.roll(1), "mean in float64: largest error"),
        ("posterior_mean_coef_x_start", lambda values: values + 1e-6, "mean at t = 0, which is x_0: largest error"),
        ("posterior_variance", lambda values: 1.001 * values, "variance: largest relative error"),
        ("posterior_variance", lambda values: values.clamp(min=1e-5), "variance at t = 0"),
        ("posterior_log_variance_clipped", lambda values: values / 2, "log variance: largest error"),
    ],
)
def test_another_posterior(monkeypatch, table, change, what):
    spoil(monkeypatch, table, change)
    assert what in failures("posterior")


def test_variances_swapped(monkeypatch):
    monkeypatch.setattr(process, "reverse_log_variance", lambda schedule, v: reverse_log_variance(schedule, SWAPPED[v]))
    assert [what.split(",")[0] for what in failures("reverse step")] == ["fixed small", "fixed large"]


@pytest.mark.parametrize("variance", SWAPPED)
def test_another_variance_at_t_0(monkeypatch, variance):
    def other(schedule, wanted):
        table = reverse_log_variance(schedule, wanted).clone()
        if wanted is variance:
            table[0] = schedule.betas[0].log()
        return table

    monkeypatch.setattr(process, "reverse_log_variance", other)
    (failed,) = failures("reverse step")
    assert failed.startswith(f"{variance.value.replace('_', ' ')} at t = 0")


def test_the_mean_before_the_clipping(monkeypatch):
    def late(schedule, output, x_t, t, **more):
        step = p_mean_variance(schedule, output, x_t, t, **more | {"clip_x_start": False})
        return step._replace(pred_x_start=step.pred_x_start.clamp(-1, 1))

    monkeypatch.setattr(process, "p_mean_variance", late)
    assert failures("reverse step") == ["mean of x_0 clipped first: largest error"]


@pytest.mark.parametrize("kind", prediction.Parameterisation)
def test_another_parameterisation_misread(monkeypatch, kind):
    def other(schedule, output, x_t, t, **more):
        step = p_mean_variance(schedule, output, x_t, t, **more)
        return step._replace(mean=1.001 * step.mean) if more.get("parameterisation") is kind else step

    monkeypatch.setattr(process, "p_mean_variance", other)
    assert failures("reverse step") == [f"mean from {kind.value}: largest error"]
