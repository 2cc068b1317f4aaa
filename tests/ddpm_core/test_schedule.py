import math

import numpy as np
import pytest
import torch

from ddpm_core.likelihood.bound import prior_bits_per_dim
from ddpm_core.schedule import (
    NoiseSchedule,
    alphas_cumprod_schedule,
    at,
    constant_schedule,
    cosine_schedule,
    custom_schedule,
    jsd_schedule,
    linear_schedule,
    quadratic_schedule,
    respace,
    scaled_linear_schedule,
    sigmoid_schedule,
    warmup_schedule,
    with_zero_terminal_snr,
)

LINEAR = linear_schedule()


def scaled_small(num_timesteps: int) -> NoiseSchedule:
    return scaled_linear_schedule(num_timesteps, 1e-6, 2e-3)


MAKERS = (
    linear_schedule,
    scaled_small,
    quadratic_schedule,
    cosine_schedule,
    sigmoid_schedule,
    constant_schedule,
    jsd_schedule,
    warmup_schedule,
)


def schedule_of(*betas: float) -> NoiseSchedule:
    return NoiseSchedule(betas=torch.tensor(betas, dtype=torch.float64), timesteps=torch.arange(len(betas)))


@pytest.mark.parametrize(
    ("t", "beta", "cumprod", "posterior_variance"),
    [  # recipe.md 1.6: run in float64 numpy from Ho's np.linspace(1e-4, 0.02, 1000)
        (0, 1e-4, 0.9999, 0),
        (1, 1.1991991992e-4, 0.999780092072, 5.4531876613e-05),
        (499, 0.01004004004, 0.0785872428818, 0.0100313554146),
        (500, 0.01005995996, 0.077796658365, 0.0100513357789),
        (999, 0.02, 4.03582976538e-05, 0.0199999835266),
    ],
)
def test_linear_schedule_has_the_original_numbers(t, beta, cumprod, posterior_variance):
    row = [float(x[t]) for x in (LINEAR.betas, LINEAR.alphas_cumprod, LINEAR.posterior_variance)]
    assert row == pytest.approx([beta, cumprod, posterior_variance], rel=1e-10, abs=0)


@pytest.mark.parametrize("schedule", [LINEAR, cosine_schedule(50), linear_schedule(7, 0.1, 0.9)])
def test_tables_equal_a_loop_over_the_definitions(schedule):
    cumprod = 1.0
    for t, beta in enumerate(schedule.betas.tolist()):
        before, cumprod = cumprod, cumprod * (1 - beta)
        expected = {
            "alphas": 1 - beta,
            "alphas_cumprod": cumprod,
            "alphas_cumprod_prev": before,
            "posterior_variance": (1 - before) / (1 - cumprod) * beta,
            "posterior_mean_coef_x_start": math.sqrt(before) * beta / (1 - cumprod),
            "posterior_mean_coef_x_t": math.sqrt(1 - beta) * (1 - before) / (1 - cumprod),
        }
        for name, value in expected.items():
            assert float(getattr(schedule, name)[t]) == pytest.approx(value, rel=1e-9, abs=0), name


def test_linear_betas_are_numpys_linspace():
    np.testing.assert_allclose(LINEAR.betas.numpy(), np.linspace(1e-4, 0.02, 1000), rtol=1e-13)
    assert LINEAR.timesteps.tolist() == list(range(1000))
    assert LINEAR.num_timesteps == 1000


def test_the_clipped_log_variance_repeats_t_1_in_the_place_of_log_0():
    logs, variances = LINEAR.posterior_log_variance_clipped, LINEAR.posterior_variance
    assert float(variances[0]) == 0
    assert float(logs[0]) == float(logs[1]) == pytest.approx(math.log(5.4531876613e-05), rel=1e-10)
    np.testing.assert_allclose(logs[1:].numpy(), np.log(variances[1:].numpy()), rtol=1e-13)


@pytest.mark.parametrize(
    ("x_start", "bits"),
    [(0.0, 5.874784e-10), (1.0, 2.911294542e-05), (-1.0, 2.911294542e-05)],  # recipe.md 1.6, float64
)
def test_the_linear_chain_ends_in_noise(x_start, bits):
    prior = prior_bits_per_dim(LINEAR, torch.full((1, 1, 2, 2), x_start))
    assert float(prior[0]) == pytest.approx(bits, rel=1e-6, abs=0)


def test_cosine_schedule_has_the_published_numbers():
    """recipe.md 1.6: run in float64 from Nichol and Dhariwal's formula."""
    schedule = cosine_schedule(1000)
    assert float(schedule.betas[0]) == pytest.approx(4.128422482e-05, rel=1e-9)
    assert float(schedule.betas[-1]) == 0.999
    assert float(schedule.alphas_cumprod[499]) == pytest.approx(0.49384359, rel=1e-7)


@pytest.mark.parametrize("num_timesteps", [4, 100, 1000])
def test_cosine_cumprod_follows_the_squared_cosine_up_to_the_cap(num_timesteps):
    def curve(t: float) -> float:
        return math.cos((t / num_timesteps + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [curve(t + 1) / curve(0) for t in range(num_timesteps - 1)]
    np.testing.assert_allclose(cosine_schedule(num_timesteps).alphas_cumprod[:-1].numpy(), expected, rtol=1e-9)


def test_cosine_betas_are_capped():
    assert float(cosine_schedule(100, max_beta=0.5).betas.max()) == 0.5


@pytest.mark.parametrize("beta", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_betas_outside_0_to_1_are_refused(beta):
    with pytest.raises(ValueError, match=r"betas must lie in \(0, 1\]; got values from .* to "):
        schedule_of(0.5, beta)


def test_the_refusal_names_the_extreme_betas():
    with pytest.raises(ValueError, match=r"got values from -0\.25 to 1\.5"):
        schedule_of(-0.25, 0.5, 1.5)


def test_a_beta_of_1_is_allowed():
    assert float(schedule_of(0.5, 1.0).alphas_cumprod[-1]) == 0


@pytest.mark.parametrize("betas", [[], [0.1]])
def test_a_chain_of_fewer_than_two_steps_is_refused(betas):
    with pytest.raises(ValueError, match=f"a schedule needs at least 2 timesteps; got {len(betas)}"):
        schedule_of(*betas)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_lookup_has_the_images_dtype_and_broadcasts_with_them(dtype):
    images = torch.zeros(3, 1, 2, 2, dtype=dtype)
    found = at(LINEAR.betas, torch.tensor([999, 0, 499]), like=images)
    assert found.shape == (3, 1, 1, 1)
    assert found.dtype == dtype
    assert found.flatten().tolist() == LINEAR.betas[[999, 0, 499]].to(dtype).tolist()


def test_a_move_keeps_betas_and_timesteps():
    short = respace(LINEAR, 10)
    moved = short.to(torch.device("cpu"))
    assert torch.equal(moved.betas, short.betas)
    assert torch.equal(moved.timesteps, short.timesteps)


def test_a_move_computes_nothing():
    """`meta` knows shapes alone: a value asked of it is an error."""
    moved = respace(LINEAR, 10).to(torch.device("meta"))
    tables = {name: table for name, table in vars(moved).items() if isinstance(table, torch.Tensor)}
    assert len(tables) == 9
    assert {table.device.type for table in tables.values()} == {"meta"}
    assert LINEAR.betas.device.type == "cpu"


def test_quadratic_betas_have_equally_spaced_roots():
    """Ho's `quad`: np.linspace(b0 ** .5, b1 ** .5, T) ** 2."""
    np.testing.assert_allclose(
        quadratic_schedule(1000, 1e-4, 0.02).betas.numpy(), np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2, rtol=1e-13
    )


@pytest.mark.parametrize("num_timesteps", [100, 500, 1000, 4000])
def test_scaled_linear_ends_at_about_the_same_noise_for_every_length(num_timesteps):
    found = float(scaled_linear_schedule(num_timesteps).alphas_cumprod[-1].log())
    # -log alpha-bar_T is about the sum of the betas, 1000 (b0 + b1) / 2, up to terms in beta^2.
    assert found == pytest.approx(-1000 * (1e-4 + 0.02) / 2, rel=0.08 if num_timesteps < 500 else 0.02)
    plain = linear_schedule(1000)
    torch.testing.assert_close(scaled_linear_schedule(1000).betas, plain.betas, rtol=0, atol=0)


def test_jsd_falls_linearly_to_nothing():
    """Betas 1/(T - t) make alpha-bar_t = (T - t - 1) / T: a telescoping product."""
    schedule = jsd_schedule(50)
    expected = [(50 - t - 1) / 50 for t in range(50)]
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), expected, rtol=1e-12, atol=1e-15)
    assert schedule.zero_terminal_snr
    assert not LINEAR.zero_terminal_snr


def test_constant_falls_geometrically():
    schedule = constant_schedule(30, 0.1)
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), 0.9 ** np.arange(1, 31), rtol=1e-12)


@pytest.mark.parametrize(("fraction", "warm"), [(0.1, 100), (0.5, 500)])
def test_warmup_is_linear_then_constant(fraction, warm):
    betas = warmup_schedule(1000, fraction=fraction).betas.numpy()
    np.testing.assert_allclose(betas[:warm], np.linspace(1e-4, 0.02, warm), rtol=1e-12)
    assert set(betas[warm:]) == {0.02}


def test_sigmoid_follows_its_curve_up_to_the_cap():
    """Jabri et al.: gamma(u) = (v_end - s(u)) / (v_end - v_start), s the logistic function of (u (e - s) + s) / tau."""
    schedule = sigmoid_schedule(200, start=-3.0, end=3.0, tau=0.7)

    def curve(u: float) -> float:
        v = [1 / (1 + math.exp(-x / 0.7)) for x in (-3, 3, -3 + 6 * u)]
        return (v[1] - v[2]) / (v[1] - v[0])

    expected = [curve((t + 1) / 200) for t in range(199)]
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1].numpy(), expected, rtol=1e-9)
    assert float(schedule.betas[-1]) == 0.999


@pytest.mark.parametrize("schedule", [LINEAR, cosine_schedule(100), quadratic_schedule(64, 0.001, 0.5)])
def test_alphas_cumprod_make_their_schedule_again(schedule):
    again = alphas_cumprod_schedule(schedule.alphas_cumprod)
    np.testing.assert_allclose(again.betas.numpy(), schedule.betas.numpy(), rtol=1e-9)


@pytest.mark.parametrize("schedule", [LINEAR, cosine_schedule(100), quadratic_schedule(64, 0.001, 0.5)])
def test_zero_terminal_snr_keeps_the_first_and_ends_in_noise_alone(schedule):
    """Lin et al. 2023, algorithm 1, on the square roots, in plain floats."""
    found = with_zero_terminal_snr(schedule)
    roots = [math.sqrt(x) for x in schedule.alphas_cumprod.tolist()]
    expected = [(root - roots[-1]) * roots[0] / (roots[0] - roots[-1]) for root in roots]
    np.testing.assert_allclose(found.alphas_cumprod.sqrt().numpy(), expected, rtol=1e-9, atol=1e-12)
    assert float(found.betas[-1]) == 1
    assert found.zero_terminal_snr
    assert float(found.alphas_cumprod[0]) == pytest.approx(float(schedule.alphas_cumprod[0]), rel=1e-12)


def test_zero_terminal_snr_keeps_the_timesteps_of_a_respaced_chain():
    short = respace(LINEAR, 20)
    assert torch.equal(with_zero_terminal_snr(short).timesteps, short.timesteps)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_schedule_is_one_at_every_length(make):
    for num_timesteps in (2, 3, 10, 1000):
        schedule = make(num_timesteps)
        assert schedule.num_timesteps == num_timesteps
        assert schedule.timesteps.tolist() == list(range(num_timesteps))
        assert bool((schedule.alphas_cumprod.diff() < 0).all())


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("num_timesteps", [-3, 0, 1])
def test_every_schedule_needs_two_timesteps(make, num_timesteps):
    with pytest.raises(ValueError, match=f"a schedule needs at least 2 timesteps; got {num_timesteps}"):
        make(num_timesteps)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: linear_schedule(10, 0.0, 0.02), r"betas must lie in \(0, 1\]; got values from 0 to"),
        (lambda: linear_schedule(10, 1e-4, 1.5), r"betas must lie in \(0, 1\].*to 1\.5"),
        (lambda: scaled_linear_schedule(10), r"betas must lie in \(0, 1\].*to 2"),
        (lambda: quadratic_schedule(10, -0.1, 0.02), r"beta_start and beta_end must lie in \(0, 1\]; got -0\.1 and"),
        (lambda: quadratic_schedule(10, math.nan, 0.02), r"beta_start and beta_end"),
        (lambda: constant_schedule(10, 0.0), r"betas must lie in \(0, 1\]"),
        (lambda: cosine_schedule(10, max_beta=1.0), r"max_beta must lie in \(0, 1\); got 1"),
        (lambda: cosine_schedule(10, max_beta=math.nan), r"max_beta"),
        (lambda: sigmoid_schedule(10, start=3.0, end=-3.0), r"start must lie below end"),
        (lambda: sigmoid_schedule(10, tau=0.0), r"tau above 0; got .*tau 0"),
        (lambda: warmup_schedule(10, fraction=0.0), r"fraction must lie in \(0, 1\]; got 0"),
        (lambda: warmup_schedule(10, fraction=1.5), r"fraction must lie in \(0, 1\]; got 1\.5"),
        (lambda: schedule_of(0.5, 1.0, 0.5), r"only the last may be 1; got 1 at timestep 1"),
        (lambda: alphas_cumprod_schedule(torch.tensor([0.9, 0.95])), r"betas must lie in \(0, 1\]; got values from -"),
        (lambda: custom_schedule(torch.tensor([0.1, 0.0])), r"got values from 0 to 0\.1"),
    ],
)
def test_invalid_ranges_are_refused_with_the_value(make, said):
    with pytest.raises(ValueError, match=said):
        make()
