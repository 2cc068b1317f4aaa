"""Checks of the randomness, the schedules, q(x_t | x_0), its posterior and the reverse step.

The expected numbers are published, or follow from the betas by formulas other than those checked.
"""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.prediction import convert, predict_eps, predict_x_start
from ddpm_core.reverse import p_mean_variance, reverse_log_variance
from ddpm_core.rng import Stream, normal, philox4x32, words
from ddpm_core.schedule import cosine_schedule, linear_schedule, respace
from ddpm_core.selftest.check import Check, largest

_MASK = 2**32 - 1
# Random123, kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
_KNOWN_ANSWERS = (
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((_MASK,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
_STANDARD_ERRORS = 5
# Rows of the linear schedule with T = 1000: t, beta, alpha-bar, posterior variance.
_LINEAR = (
    (0, 1e-4, 0.9999, 0.0),
    (1, 1.1991991992e-4, 0.999780092072, 5.4531876613e-05),
    (499, 0.01004004004, 0.0785872428818, 0.0100313554146),
    (500, 0.01005995996, 0.077796658365, 0.0100513357789),
    (999, 0.02, 4.03582976538e-05, 0.0199999835266),
)


def check_randomness(device: torch.device) -> list[Check]:
    """Check Philox bit for bit against published answers and the CPU, and normal numbers by moments and by Box-Muller.

    Moments of 65,536 numbers may be 5 standard errors off: 1/sqrt(n), sqrt(2/n), sqrt(96/n) for z, z^2, z^4.
    """
    name = "randomness"
    wrong = 0
    for counter, seed, answer in _KNOWN_ANSWERS:
        # 1,027 copies, so that both a vectorised kernel and its remainder loop are tested.
        drawn = philox4x32(torch.tensor(counter, device=device).repeat(1027, 1), seed)
        wrong += int((drawn != torch.tensor(answer, device=device)).sum())
    seed, step, shape = 0x0123456789ABCDEF, 999, (1, 8, 8)
    index = torch.tensor([0, 5, 2**32 - 1, 2**32, 2**48 - 1])
    placed = words(seed, Stream.NLL, index.to(device), 8, step).cpu()
    many = torch.arange(1024)
    drawn_words = words(seed, Stream.X_T, many.to(device), 64)
    different = int((drawn_words.cpu() != words(seed, Stream.X_T, many, 64)).sum())
    z = normal(seed, Stream.X_T, many.to(device), shape)
    wide, n = z.double(), z.numel()
    by_hand = _box_muller(drawn_words[:4].cpu()).reshape(-1, *shape)
    moments = [
        Check(name, f"mean of z^{power}", float((wide**power).mean()), expected, _STANDARD_ERRORS * math.sqrt(v / n))
        for power, expected, v in ((1, 0.0, 1), (2, 1.0, 2), (4, 3.0, 96))
    ]
    return [
        Check(name, "Philox4x32-10: words that differ from published ones", float(wrong), 0.0, 0.0),
        Check(name, "words not from counter (block, index, stream, step)", _misplaced(placed, index, seed), 0.0, 0.0),
        Check(name, "words of 65,536 that differ from the CPU's", float(different), 0.0, 0.0),
        Check(name, "normal numbers by Box-Muller: largest error", largest(z[:4].cpu() - by_hand), 0.0, 1e-6),
        Check(
            name,
            "normal numbers: largest difference from the CPU's",
            largest(z.cpu() - normal(seed, Stream.X_T, many, shape)),
            0.0,
            1e-6,
        ),
        *moments,
    ]


def _misplaced(drawn: Int64[Tensor, "b 8"], index: Int64[Tensor, " b"], seed: int) -> float:
    """Count the words of stream NLL (7) at step 999 that differ from those of the counter written out below."""
    counters = [[[block, i & _MASK, i >> 32 | 7 << 16, 999] for block in range(2)] for i in index.tolist()]
    return float((drawn != philox4x32(torch.tensor(counters), seed).flatten(1)).sum())


def _box_muller(drawn: Int64[Tensor, "b n"]) -> Float64[Tensor, "b n"]:
    rows = []
    for row in drawn.tolist():
        values = []
        for first, second in zip(row[::2], row[1::2], strict=True):
            radius = math.sqrt(-2 * math.log((first + 0.5) / 2**32))
            angle = 2 * math.pi * (second + 0.5) / 2**32
            values += [radius * math.cos(angle), radius * math.sin(angle)]
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float64)


def check_schedule(device: torch.device) -> list[Check]:
    """Check the tables of the linear and the cosine schedule, T = 1000, and of a respaced one, by relative error."""
    name = "schedule"
    linear, cosine = linear_schedule().to(device), cosine_schedule().to(device)
    t, *golden = (torch.tensor(column, dtype=torch.float64) for column in zip(*_LINEAR, strict=True))
    tables = (linear.betas, linear.alphas_cumprod, linear.posterior_variance)
    rows = [
        Check(name, f"linear, {what}: largest relative error", _relative(table.cpu()[t.long()], expected), 0.0, 1e-10)
        for what, table, expected in zip(("beta", "alpha-bar", "posterior variance"), tables, golden, strict=True)
    ]
    computed = torch.stack((cosine.betas[0], cosine.betas[-1], cosine.alphas_cumprod[499])).cpu()
    expected = torch.tensor([4.128422482e-05, 0.999, 0.49384359], dtype=torch.float64)
    rows.append(
        Check(name, "cosine, beta and alpha-bar: largest relative error", _relative(computed, expected), 0.0, 2e-8)
    )
    short = respace(linear, 50)
    kept = _alphas_cumprod(_betas())[[round(k * 999 / 49) for k in range(50)]]
    error = _relative(short.alphas_cumprod.cpu(), kept)
    rows.append(Check(name, "respaced to 50, alpha-bar: largest relative error", error, 0.0, 1e-10))
    return rows


def _betas() -> Float64[Tensor, " T"]:
    return torch.tensor([1e-4 + t * (0.02 - 1e-4) / 999 for t in range(1000)], dtype=torch.float64)


def _alphas_cumprod(betas: Float64[Tensor, " T"]) -> Float64[Tensor, " T"]:
    return torch.log1p(-betas).cumsum(0).exp()


def _relative(computed: Float64[Tensor, " n"], expected: Float64[Tensor, " n"]) -> float:
    return largest((computed - expected) / expected.abs().clamp(min=1e-30))


def check_forward(device: torch.device) -> list[Check]:
    """Check q_sample against eq. (4) with alpha-bar written out, and its inverses for x_0 and eps."""
    name = "forward"
    schedule = linear_schedule().to(device)
    cumprod = torch.tensor([row[2] for row in _LINEAR], dtype=torch.float64).reshape(-1, 1, 1, 1)
    x_start = torch.linspace(-1, 1, 5, dtype=torch.float64).reshape(-1, 1, 1, 1)
    eps = torch.linspace(3, -2, 5, dtype=torch.float64).reshape(-1, 1, 1, 1)
    t = torch.tensor([row[0] for row in _LINEAR], device=device)
    by_hand = cumprod.sqrt() * x_start + (1 - cumprod).sqrt() * eps
    clean, noise = x_start.to(device), eps.to(device)
    x_t = q_sample(schedule, clean, t, noise)
    single = q_sample(schedule, clean.float(), t, noise.float())
    back = predict_x_start(schedule, x_t, t, noise) - clean
    same = predict_eps(schedule, x_t, t, clean) - noise
    return [
        Check(name, "x_t in float64: largest error", largest(x_t.cpu() - by_hand), 0.0, 1e-10),
        Check(name, "x_t in float32: largest error", largest(single.cpu() - by_hand), 0.0, 1e-6),
        Check(name, "x_0 from x_t and eps: largest error", largest(back), 0.0, 1e-10),
        Check(name, "eps from x_t and x_0: largest error", largest(same), 0.0, 1e-10),
    ]


def check_posterior(device: torch.device) -> list[Check]:
    """Check q(x_{t-1} | x_t, x_0) by Bayes: the product of q(x_{t-1} | x_0) and q(x_t | x_{t-1}), t = 1..999.

    Precisions add up, 1 / (1 - alpha-bar_{t-1}) + alpha_t / beta_t, and the mean is the mean weighted by them.
    """
    name = "posterior"
    schedule = linear_schedule().to(device)
    betas = _betas()
    before, beta, alpha = _alphas_cumprod(betas)[:-1], betas[1:], 1 - betas[1:]
    x_start, x_t = torch.linspace(-1, 1, 999, dtype=torch.float64), 3 * torch.arange(999).double().cos()
    variance = 1 / (1 / (1 - before) + alpha / beta)
    mean = variance * (before.sqrt() * x_start / (1 - before) + alpha.sqrt() * x_t / beta)
    t = torch.arange(1, 1000, device=device)
    clean, noisy = _images(x_start, device), _images(x_t, device)
    posterior = q_posterior(schedule, clean, noisy, t)
    single = q_posterior(schedule, clean.float(), noisy.float(), t).mean
    first = q_posterior(schedule, clean, noisy, torch.zeros_like(t))
    log_error = largest(posterior.log_variance.flatten().cpu() - variance.log())
    return [
        Check(name, "mean in float64: largest error", largest(posterior.mean.flatten().cpu() - mean), 0.0, 1e-9),
        Check(name, "mean in float32: largest error", largest(single.flatten().cpu() - mean), 0.0, 2e-6),
        Check(
            name, "variance: largest relative error", _relative(posterior.variance.flatten().cpu(), variance), 0.0, 1e-9
        ),
        Check(name, "log variance: largest error", log_error, 0.0, 1e-9),
        Check(name, "mean at t = 0, which is x_0: largest error", largest(first.mean - clean), 0.0, 1e-10),
        Check(name, "variance at t = 0", largest(first.variance), 0.0, 0.0),
    ]


def _images(values: Float64[Tensor, " b"], device: torch.device) -> Float64[Tensor, "b 1 1 1"]:
    return values.reshape(-1, 1, 1, 1).to(device)


def check_reverse_step(device: torch.device) -> list[Check]:
    """Check p_theta(x_{t-1} | x_t): its variances, clipping x_0 before the mean, and every parameterisation."""
    name = "reverse step"
    schedule = linear_schedule().to(device)
    betas = _betas()
    cumprod = _alphas_cumprod(betas)
    posterior = betas[1:] * (1 - cumprod[:-1]) / (1 - cumprod[1:])
    small, large = (reverse_log_variance(schedule, v).exp().cpu() for v in (Variance.FIXED_SMALL, Variance.FIXED_LARGE))
    t = torch.arange(1, 1000, device=device)
    x_t = _images(3 * torch.arange(999).double().cos(), device)
    x_start = _images(torch.linspace(-1, 1, 999, dtype=torch.float64), device)
    # The prediction is twice x_0, so that half of the images are clipped.
    eps = predict_eps(schedule, x_t, t, 2 * x_start)
    clipped = _posterior_mean(cumprod, betas, (2 * x_start).clamp(-1, 1), x_t)
    step = p_mean_variance(schedule, eps, x_t, t)
    rows = [
        Check(name, "fixed small, the posterior's: largest relative error", _relative(small[1:], posterior), 0.0, 1e-9),
        Check(name, "fixed large, beta: largest relative error", _relative(large[1:], betas[1:]), 0.0, 1e-12),
        Check(name, "fixed small at t = 0, as at t = 1", float(small[0]), 5.4531876613e-05, 1e-14),
        Check(name, "fixed large at t = 0, the posterior's of t = 1", float(large[0]), 5.4531876613e-05, 1e-14),
        Check(name, "mean of x_0 clipped first: largest error", largest(step.mean.cpu() - clipped), 0.0, 1e-9),
    ]
    free = _posterior_mean(cumprod, betas, 2 * x_start, x_t)
    for kind in Parameterisation:
        prediction = convert(schedule, x_t, t, eps, source=Parameterisation.EPS, to=kind)
        mean = p_mean_variance(schedule, prediction, x_t, t, parameterisation=kind, clip_x_start=False).mean
        rows.append(Check(name, f"mean from {kind.value}: largest error", largest(mean.cpu() - free), 0.0, 1e-9))
    return rows


def _posterior_mean(
    cumprod: Float64[Tensor, " T"],
    betas: Float64[Tensor, " T"],
    x_start: Float[Tensor, "b 1 1 1"],
    x_t: Float[Tensor, "b 1 1 1"],
) -> Float64[Tensor, "b 1 1 1"]:
    """Eq. (7) at t = 1..T-1, on the CPU."""
    before, now, beta = cumprod[:-1], cumprod[1:], betas[1:]
    of_x_start, of_x_t = beta * before.sqrt() / (1 - now), (1 - before) * (1 - beta).sqrt() / (1 - now)
    return of_x_start.reshape(-1, 1, 1, 1) * x_start.cpu() + of_x_t.reshape(-1, 1, 1, 1) * x_t.cpu()
