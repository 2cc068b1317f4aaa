"""From the likelihood per image to figures with their errors: over images, and over draws of noise alone."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ddpm_core.likelihood.interval import interval
from flows.artifacts import Figure
from flows.metrics.likelihood_rows import FIGURE, TOTAL

# Per image, by name: float64 [n].
Columns = Mapping[str, Tensor]

_NOISE = "_noise_stderr"
_TERMS = {
    "prior_bpd": "the bound's term at the end of the chain",
    "step_bpd": "the bound's terms between its two ends, summed",
    "decoder_bpd": "the bound's term of the last step",
    "eps_mse": "mean squared error of the predicted noise, over all timesteps",
}


def likelihood_figures(draws: Sequence[Columns], note: str) -> list[Figure]:
    """Return the bits/dim of one kind of likelihood, by variance if it has one, and then their terms by name.

    A figure's standard error is over images together with their noise. If there are several draws of noise, the figure
    `<name>_noise_stderr` has the error over noise alone.

    Args:
        draws: The sums of every image under each draw of noise, all of the same images.
        note: A description of the measure and its data.
    """
    rows = {name: torch.stack([columns[name] for columns in draws]) for name in sorted(draws[0])}
    totals = {name: values for name, values in rows.items() if name.startswith(TOTAL)}
    headlines = [_headline(name.removeprefix(TOTAL), values, note) for name, values in totals.items()]
    errors = [_noise(name.removeprefix(TOTAL), values) for name, values in totals.items()] if len(draws) > 1 else []
    return headlines + errors + [_term(name, rows[name]) for name in rows if name not in totals]


def _headline(name: str, values: Tensor, note: str) -> Figure:
    found = interval(values)
    return Figure(
        name=f"{FIGURE}{name}",
        value=found.value,
        standard_error=found.standard_error,
        terms=values.shape[1],
        label=f"bits/dim, {_words(name)}",
        note=note,
        headline=True,
    )


def _noise(name: str, values: Tensor) -> Figure:
    error = interval(values).noise_standard_error
    assert error is not None, "there is more than one draw"
    return Figure(
        name=f"{FIGURE}{name}{_NOISE}",
        value=error,
        label=f"bits/dim, {_words(name)}: standard error over noise",
        note=f"the error if only the noise were drawn anew, for these images; from {len(values)} draws",
    )


def _term(name: str, values: Tensor) -> Figure:
    term = next(term for term in _TERMS if name.startswith(term))
    variance = _words(name.removeprefix(term).strip("_"))
    note = ", ".join(filter(None, (_TERMS[term], variance)))
    return Figure(name=name, value=float(values.mean()), label=name, note=note)


def _words(name: str) -> str:
    """The name of a variance in words, after a comma if the figure is an estimate."""
    return name.replace("estimate_", "estimate, ").replace("_", " ")
