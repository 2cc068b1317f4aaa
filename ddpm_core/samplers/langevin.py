"""Langevin dynamics and predictor-corrector sampling, with the network as a score.

eps_theta(x_t, t) gives the score of q(x_t), -eps_theta / sqrt(1 - alpha-bar_t), so a network trained on L_simple also
drives annealed Langevin dynamics (Song and Ermon 2019).
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.diffusion import timestep_batch
from ddpm_core.prediction import Model, convert, score
from ddpm_core.reverse import p_mean_variance
from ddpm_core.schedule import NoiseSchedule, at


def langevin_step(
    model: Model,
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "b c h w"],
    t: int,
    noise: Float[Tensor, "b c h w"],
    *,
    step_size: float,
    parameterisation: Parameterisation = Parameterisation.EPS,
) -> Float[Tensor, "b c h w"]:
    """One step of Langevin dynamics towards q(x_t): x + d score + sqrt(2 d) z with d = step_size (1 - alpha-bar_t)."""
    steps = timestep_batch(t, x_t)
    prediction = model(x_t, schedule.timesteps[steps])
    eps = convert(schedule, x_t, steps, prediction, source=parameterisation, to=Parameterisation.EPS)
    length = at(step_size * (1 - schedule.alphas_cumprod), steps, like=x_t)
    return x_t + length * score(schedule, steps, eps) + (2 * length).sqrt() * noise


def langevin_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    noise: Callable[[int, int], Float[Tensor, "b c h w"]],
    steps_per_level: int = 1,
    step_size: float = 0.1,
    predictor: bool = True,
    variance: Variance = Variance.FIXED_SMALL,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = False,
) -> Float[Tensor, "b c h w"]:
    """Sample by annealed Langevin dynamics or, with a predictor, by predictor-corrector sampling.

    At each level t = T-1..0 the sampler takes `steps_per_level` Langevin steps towards q(x_t) (Song and Ermon 2019,
    algorithm 1). With a predictor it then takes the ancestral step to the next level (Song et al. 2021, algorithm 3
    with the corrector first). Both methods end with the predicted x_0 of the last level.

    Args:
        model: The network.
        schedule: The levels.
        x_T: Standard normal noise to start from.
        noise: Returns z for (t, k): k = 0..steps_per_level-1 for Langevin steps, k = steps_per_level for the predictor.
        steps_per_level: Langevin steps at each level, 0 or more; without a predictor at least 1.
        step_size: Length of a Langevin step in units of 1 - alpha-bar_t, in (0, 1].
        predictor: Take the ancestral step between levels.
        variance: The predictor's variance, a fixed one.
        parameterisation: The quantity that the network predicts.
        clip_x_start: Clamp the predictor's and the last predicted x_0 to [-1, 1].

    Raises:
        ValueError: If `steps_per_level` or `step_size` is out of range.
    """
    if steps_per_level < (0 if predictor else 1):
        raise ValueError(f"steps_per_level must be at least {0 if predictor else 1}; got {steps_per_level}")
    if not 0 < step_size <= 1:
        raise ValueError(f"step_size must lie in (0, 1]; got {step_size}")
    x_t = x_T
    for t in reversed(range(schedule.num_timesteps)):
        for k in range(steps_per_level):
            x_t = langevin_step(
                model, schedule, x_t, t, noise(t, k), step_size=step_size, parameterisation=parameterisation
            )
        if not predictor and t > 0:
            continue
        steps = timestep_batch(t, x_t)
        reverse = p_mean_variance(
            schedule,
            model(x_t, schedule.timesteps[steps]),
            x_t,
            steps,
            variance=variance,
            parameterisation=parameterisation,
            clip_x_start=clip_x_start,
        )
        x_t = reverse.pred_x_start if t == 0 else reverse.mean + reverse.variance.sqrt() * noise(t, steps_per_level)
    return x_t
