"""The figures and the numbers of docs/seed.md, from `ddpm_core` and closed forms.

`.venv/bin/python -m docs.seed_figures` writes them anew. t counts from 1 in them, as in the seed.
"""

import math
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.diffusion import q_sample
from ddpm_core.gaussian import discretized_gaussian_log_likelihood
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim_by_variance, prior_bits_per_dim
from ddpm_core.objective import bound_weight
from ddpm_core.reverse import reverse_log_variance
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.langevin import langevin_sample
from ddpm_core.schedule import (
    NoiseSchedule,
    at,
    cosine_schedule,
    jsd_schedule,
    linear_schedule,
    quadratic_schedule,
    respace,
)
from docs.seed_svg import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    RED,
    Axis,
    Panel,
    decimal,
    numbered,
    picture,
    powers,
    text,
    tiles,
)

HERE = Path(__file__).parent
SHOWN_T = (1, 50, 100, 200, 350, 600, 1000)
WEIGHTS, MEANS, MODE_VARIANCE = (0.25, 0.75), (-0.7, 0.5), 0.12**2
NAMES = {Variance.FIXED_SMALL: "σ² = β̃", Variance.FIXED_LARGE: "σ² = β"}


def schedules() -> str:
    """alpha-bar of four schedules."""
    y = numbered("ᾱ, what is left of x_{0}’s variance", 0, 0.5, 1)
    panel = Panel(numbered("t", 0, 200, 400, 600, 800, 1000), y)
    kept = [*range(0, 1000, 10), 999]
    for title, schedule, colour, dash in (
        ("linear β (Ho et al.)", linear_schedule(), BLUE, "none"),
        ("quadratic β", quadratic_schedule(), GREEN, "none"),
        ("cosine ᾱ", cosine_schedule(), RED, "none"),
        ("β = 1 / (T − t + 1)", jsd_schedule(), BLACK, "6 4"),
    ):
        panel.line(title, [0, *(t + 1 for t in kept)], [1, *schedule.alphas_cumprod[kept].tolist()], colour, dash)
    return picture(640, 360, panel.svg())


def best_guess(schedule: NoiseSchedule, data: Tensor, x_t: Tensor, t: int) -> Tensor:
    """E[x_0 | x_t] where the data are all there is: their mean, weighed by q(x_t | x_0)."""
    cumprod = schedule.alphas_cumprod[t]
    distance = ((x_t - cumprod.sqrt() * data) ** 2).sum(dim=(1, 2, 3))
    shares = torch.softmax(-distance / (2 * (1 - cumprod)), dim=0)
    return (shares.reshape(-1, 1, 1, 1) * data).sum(dim=0)


def forward() -> str:
    """One digit under q_sample, always with the same noise, and the mean of the digits it may have been."""
    schedule = linear_schedule()
    data = to_model_range(
        torch.from_numpy(load_digits().images)[:, None].mul(255 / 16).round().to(torch.uint8)
    ).double()
    noise = normal(7, Stream.TRAINING_EPS, torch.tensor([0]), (1, 8, 8)).double()
    parts, size = [], 9.0
    for place, t in enumerate(SHOWN_T):
        left = 92 + place * 84.0
        x_t = q_sample(schedule, data[:1], torch.tensor([t - 1]), noise)
        parts += tiles(x_t[0, 0], left, 16, size)
        parts += tiles(best_guess(schedule, data, x_t, t - 1)[0], left, 100, size)
        parts.append(text(left + 36, 192, f"t = {t}"))
        parts.append(text(left + 36, 210, f"ᾱ = {decimal(float(schedule.alphas_cumprod[t - 1]))}"))
    parts += [text(82, 57, "x_{t}", "end"), text(82, 141, "E[x_{0} | x_{t}]", "end")]
    ramp = torch.linspace(-1, 1, 16).expand(1, -1)
    parts += [text(284, 238, "−1 or below", "end"), *tiles(ramp, 292, 229, size), text(444, 238, "1 or above", "start")]
    return picture(690, 252, parts)


def weights() -> str:
    """Eq. (12)'s weight beside L_simple's, each by its own mean over t: only ratios matter to the best network."""
    panel = Panel(powers("t", 0, 3), powers("weight of ‖ε − ε_{θ}‖², ÷ its mean over t", -1, 2), legend=(0.5, 0.05))
    t = [*range(2, 100), *range(100, 1001, 20)]
    for variance, colour in zip(FIXED_VARIANCES, (BLUE, RED), strict=True):
        table = bound_weight(linear_schedule(), variance)
        panel.line(f"the bound, {NAMES[variance]}", t, (table / table[1:].mean())[torch.tensor(t) - 1].tolist(), colour)
    panel.line("L_{simple}", [1, 1000], [1, 1], BLACK, "6 4")
    return picture(640, 360, panel.svg())


def of_gaussian(schedule: NoiseSchedule, variance: float, x_t: Tensor, t: Tensor) -> Tensor:
    """E[eps | x_t] of pixels from N(0, variance)."""
    cumprod = at(schedule.alphas_cumprod, t, like=x_t)
    return (1 - cumprod).sqrt() * x_t / (cumprod * variance + 1 - cumprod)


def expected_terms() -> dict[Variance, Tensor]:
    """L_{t-1} in bits/dim of the best network for N(0, 1/4), its expectation.

    A KL of normals is quadratic in (x_0, eps): four pixels a standard deviation to either side have its mean exactly.
    """
    schedule = linear_schedule()
    x_start = torch.tensor([-0.5, -0.5, 0.5, 0.5], dtype=torch.float64).reshape(1, 1, 2, 2)
    eps = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64).reshape(1, 1, 2, 2)
    model = partial(of_gaussian, schedule, 0.25)
    found = bits_per_dim_by_variance(
        model, schedule, x_start, noise=lambda _: eps, variances=FIXED_VARIANCES, clip_x_start=False
    )
    return {variance: bound.step_bpd[0] for variance, bound in zip(FIXED_VARIANCES, found, strict=True)}


def costs(terms: dict[Variance, Tensor]) -> str:
    """The terms of the bound for the best network, and what sigma^2 = beta pays of them for its variance alone."""
    panel = Panel(powers("t", 0, 3), powers("L_{t−1}, bits/dim", -7, 0), legend=(0.05, 0.6))
    t = [*range(2, 100), *range(100, 1001, 20)]
    kept = torch.tensor(t) - 2
    for variance, colour in zip(FIXED_VARIANCES, (BLUE, RED), strict=True):
        panel.line(f"best network, {NAMES[variance]}", t, terms[variance][kept].tolist(), colour)
    shown = constants()[kept]
    shown = shown[shown > 1e-7]
    panel.line("C for σ² = β", t[: len(shown)], shown.tolist(), BLACK, "6 4")
    return picture(640, 360, panel.svg())


def constants() -> Tensor:
    """The seed's C for sigma^2 = beta in bits/dim: (r - 1 - log r) / 2, r = beta-tilde / beta."""
    schedule = linear_schedule()
    ratio = (schedule.posterior_variance / schedule.betas)[1:]
    return (ratio - 1 - ratio.log()) / (2 * math.log(2))


def chain_variances(variance: Variance, data_variance: float, num_steps: int) -> list[float]:
    """Variance of x_t along the reverse chain for N(0, data_variance), t = T..0 of the seed, by a scalar recursion."""
    schedule = respace(linear_schedule(), num_steps)
    cumprod, added = schedule.alphas_cumprod, reverse_log_variance(schedule, variance).exp()
    gain = cumprod.sqrt() * data_variance / (cumprod * data_variance + 1 - cumprod)
    factor = schedule.posterior_mean_coef_x_start * gain + schedule.posterior_mean_coef_x_t
    spread = [1.0]
    for t in reversed(range(num_steps)):
        spread.append(float(factor[t] ** 2) * spread[-1] + (float(added[t]) if t else 0.0))
    return spread


def variances() -> str:
    """Draw the variance of x_t under the two variances, beside the forward process's, on a chain of 20 steps."""
    parts, count = [], 20
    cumprod = [1.0, *respace(linear_schedule(), count).alphas_cumprod.tolist()][::-1]
    for place, (title, data_variance) in enumerate((("data N(0, 1)", 1.0), ("a single point", 0.0))):
        y = Axis("variance of x_{t}", 0, 1.25, [(tick, f"{tick:g}") for tick in (0, 0.25, 0.5, 0.75, 1, 1.25)])
        axis = numbered("steps still to go", 0, 5, 10, 15, 20)
        panel = Panel(axis, y, 70 + 380 * place, 40, 300, 250, title, (0.32, 0.6) if place == 0 else None)
        steps = list(range(count, -1, -1))
        truth = [1 - (1 - data_variance) * here for here in cumprod]
        panel.line("forward process", steps, truth, GREY, width=7)
        for variance, colour in zip(FIXED_VARIANCES, (BLUE, RED), strict=True):
            panel.line(NAMES[variance], steps, chain_variances(variance, data_variance, count), colour)
        parts += panel.svg()
    return picture(780, 345, parts)


def of_mixture(schedule: NoiseSchedule, x_t: Tensor, t: Tensor) -> Tensor:
    """E[eps | x_t] of the mixture: x_0's mean in each mode, weighed by the modes' shares at x_t."""
    cumprod = at(schedule.alphas_cumprod, t, like=x_t)
    spread = cumprod * MODE_VARIANCE + 1 - cumprod
    off = torch.stack([x_t - cumprod.sqrt() * mean for mean in MEANS])
    logits = -(off**2) / (2 * spread) + torch.tensor(WEIGHTS).double().log().reshape(-1, 1, 1, 1, 1)
    return (1 - cumprod).sqrt() / spread * (torch.softmax(logits, dim=0) * off).sum(dim=0)


def mixture_samples() -> dict[str, Tensor]:
    """Draw samples of three samplers with the mixture's own score."""
    schedule, count = quadratic_schedule(100, 5e-4, 0.2), 5_000

    def draw(stream: Stream, step: int = 0) -> Tensor:
        return normal(1, stream, torch.tensor([0]), (count,), step).double().reshape(-1, 1, 1, 1)

    model, start, small = partial(of_mixture, schedule), draw(Stream.X_T), Variance.FIXED_SMALL

    def noise(t: int, k: int = 0) -> Tensor:
        return draw(Stream.Z_T, 8 * t + k)

    langevin = partial(langevin_sample, model, schedule, start, noise=noise)
    return {
        "ancestral": ddpm_sample(model, schedule, start, noise=noise, variance=small, clip_x_start=False).flatten(),
        "annealed Langevin": langevin(predictor=False, steps_per_level=3, step_size=0.3).flatten(),
        "predictor–corrector": langevin(steps_per_level=1, step_size=0.1).flatten(),
    }


def samplers(drawn: dict[str, Tensor]) -> str:
    """Histograms of what was drawn over the mixture's density."""
    parts: list[str] = []
    grid = torch.linspace(-1.4, 1.4, 141, dtype=torch.float64)
    off = grid - torch.tensor(MEANS).double()[:, None]
    normals = torch.exp(-(off**2) / (2 * MODE_VARIANCE)) / math.sqrt(2 * math.pi * MODE_VARIANCE)
    density = (torch.tensor(WEIGHTS).double()[:, None] * normals).sum(dim=0)
    for place, ((title, values), colour) in enumerate(zip(drawn.items(), (BLUE, RED, GREEN), strict=True)):
        axis = numbered("x_{0}", -1.4, -0.7, 0, 0.7, 1.4)
        panel = Panel(axis, numbered("density", 0, 1, 2, 3), 60 + 300 * place, 40, 230, 220, title, (0.02, 0.03))
        panel.area("data", grid.tolist(), density.tolist(), GREY)
        heights = torch.histc(values, bins=56, min=-1.4, max=1.4) / (len(values) * 0.05)
        edges = torch.linspace(-1.4, 1.4, 57, dtype=torch.float64).repeat_interleave(2)[1:-1]
        panel.line("samples", edges.tolist(), heights.repeat_interleave(2).tolist(), colour, width=1.5)
        parts += panel.svg()
    return picture(910, 315, parts)


class Facts(NamedTuple):
    """Values that figures and numbers share, computed once."""

    terms: dict[Variance, Tensor]
    drawn: dict[str, Tensor]


def compute() -> Facts:
    """Everything that takes a second or more."""
    return Facts(terms=expected_terms(), drawn=mixture_samples())


def figures(facts: Facts) -> dict[str, str]:
    """Every figure of the page by file name."""
    return {
        "schedules.svg": schedules(),
        "forward.svg": forward(),
        "variances.svg": variances(),
        "terms.svg": costs(facts.terms),
        "samplers.svg": samplers(facts.drawn),
        "weights.svg": weights(),
    }


def numbers(facts: Facts) -> str:
    """The page's numbers as a table."""
    schedule, small, large = linear_schedule(), *FIXED_VARIANCES
    white, grey = torch.ones(1, 1, 1, 1), torch.tensor([100 / 127.5 - 1], dtype=torch.float64)
    log_std = reverse_log_variance(schedule, small)[:1] / 2
    decoder = -float(discretized_gaussian_log_likelihood(grey, grey, log_std)) / math.log(2)
    density = (0.5 * math.log(2 * math.pi) + float(log_std) - math.log(2 / 255)) / math.log(2)
    weight = bound_weight(schedule, large)
    lowest = int(weight.argmin())
    left = schedule.alphas_cumprod * 0.25 / (schedule.alphas_cumprod * 0.25 + 1 - schedule.alphas_cumprod)
    rows: list[tuple[str, Tensor | float, int]] = [
        ("L_T of a white image, bits/dim", prior_bits_per_dim(schedule, white), 6),
        ("sum of C over t ≥ 2, bits/dim, σ² = β", constants().sum(), 3),
        ("sum of L_{t−1} over t ≥ 2, bits/dim, best network for N(0, 1/4), σ² = β̃", facts.terms[small].sum(), 2),
        ("the same, σ² = β", facts.terms[large].sum(), 2),
        ("L_0 of a grey pixel, bits/dim, perfect network", decoder, 3),
        ("the same with density times width for the bin's mass", density, 3),
        ("weight of ‖ε − ε_θ‖² for σ² = β at t = 2", weight[1], 3),
        (f"the same at t = {lowest + 1}, its least", weight[lowest], 4),
        ("the same at t = 1000", weight[-1], 4),
        *((f"error of ε at t = {t}, best network for N(0, 1/4)", left[t - 1], 5) for t in (1, 100, 500, 1000)),
    ]
    for steps in (1000, 20):
        for variance in FIXED_VARIANCES:
            spread = chain_variances(variance, 1.0, steps)[-1]
            rows.append((f"variance of samples of N(0, 1), {steps} steps, {NAMES[variance]}", spread, 4))
    for name, values in facts.drawn.items():
        right = values[values > -0.1]
        rows.append((f"{name}: share of the left mode, truth {WEIGHTS[0]}", 1 - len(right) / len(values), 3))
        rows.append((f"{name}: standard deviation of the right mode, truth 0.12", right.std(), 3))
    lines = (f"| {what} | {float(value):.{digits}f} |" for what, value, digits in rows)
    said = "For Ho's linear schedule of 1000 steps unless said otherwise; t as in the seed. Samplers: 100 levels."
    head = ("# The numbers of [the seed](../seed.md)", "", said, "", "| what | value |", "| --- | --- |")
    return "\n".join((*head, *lines, ""))


def main() -> None:
    """Write the figures and the numbers."""
    torch.set_num_threads(1)  # tensors are tiny: two threads that wait for each other cost more than they do
    facts = compute()
    for name, svg in figures(facts).items():
        (HERE / "seed" / name).write_text(svg, encoding="utf-8")
    (HERE / "seed" / "numbers.md").write_text(numbers(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
