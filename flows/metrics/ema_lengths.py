"""The likelihood of held-out images by EMA length: averages rebuilt after training, each against the run's own."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from torch import Tensor

from ddpm_core.ema import ema_sigma_rel
from ddpm_core.likelihood.interval import interval
from flows.artifacts import EMA_LENGTHS, Figure, Snapshot, number_text
from flows.metrics.choices import Likelihood
from flows.metrics.features import check_count
from flows.metrics.labels import check_labels, image_counts
from flows.metrics.likelihood_rows import FIGURE, TOTAL, columns
from flows.metrics.likelihood_works import FEWEST_HELD_OUT, likelihood_work, proposal_work, rebuilt_estimate_work
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.rebuilt_works import rebuilt_works
from flows.reconstruction import LEFT_OUT, without_words
from infra.compute.device import fixed_threads
from infra.digests import Json, canonical_json
from infra.outputs.manifest import Manifest

_ESTIMATE = f"{Likelihood.ESTIMATE}_"


def _steps(subject: Subject) -> Steps:
    """Seal the proposal and the rebuilt snapshots, then the estimates of the run's own snapshot and of each of them."""
    check_count("a likelihood", FEWEST_HELD_OUT, [subject.held_out])
    check_labels(subject)
    lengths = subject.settings["ema_lengths"]
    proposal, *rebuilt = yield [proposal_work(subject), *rebuilt_works(subject, lengths)]
    estimates = yield [
        likelihood_work(subject, Likelihood.ESTIMATE, 0, proposal),
        *(
            rebuilt_estimate_work(subject, Snapshot.of(manifest), proposal, label=f"rebuilt_estimate_{length}")
            for length, manifest in zip(lengths, rebuilt, strict=True)
        ),
    ]
    return partial(_measure, subject, rebuilt, estimates)


LENGTHS: Metric = _steps


def _measure(subject: Subject, rebuilt: Sequence[Manifest], estimates: Sequence[Manifest]) -> Measured:
    own, *others = [_totals(manifest, subject) for manifest in estimates]
    with fixed_threads(1):
        rows = [
            {name: manifest.facts[name] for name in ("sigma_rel", "relative_error", "amplification", "points")}
            | {"variances": {variance: _row(of_length[variance], own[variance]) for variance in own}}
            for manifest, of_length in zip(rebuilt, others, strict=True)
        ]
        values = {variance: interval(totals[None]) for variance, totals in own.items()}
    table: Json = {
        "own": {
            "sigma_rel": _own_length(subject),
            "variances": {
                variance: {"value": found.value, "standard_error": found.standard_error}
                for variance, found in values.items()
            },
        },
        "lengths": rows,
    }
    images = len(next(iter(own.values())))
    note = (
        f"estimated upper bound on -log p of {images:,} held-out images, {subject.settings['bpd_timesteps']} timesteps"
    )
    left_out = sorted({place for manifest in rebuilt for place in manifest.facts.get(LEFT_OUT, ())})
    remark = f"; rebuilt {without_words(left_out)}" if left_out else ""
    best = min(values, key=lambda variance: values[variance].value)
    of_lengths = [_figures(row, note + remark, images) for row in rows]
    return Measured(
        figures=[_best(rows, best, remark), *chain.from_iterable(of_lengths)],
        counts=image_counts(subject, images) | {"bpd_timesteps": subject.settings["bpd_timesteps"]},
        files={EMA_LENGTHS: canonical_json(table)},
        # A length is measured on its own network; the best of them on all, against the run's own.
        apart=[
            ([figure.name for figure in figures], [estimate])
            for figures, estimate in zip(of_lengths, estimates[1:], strict=True)
        ],
    )


def _totals(estimate: Manifest, subject: Subject) -> dict[str, Tensor]:
    """Return the bits/dim of every image, by variance."""
    prefix = f"{TOTAL}{_ESTIMATE}"
    found = columns(estimate, subject.store).items()
    return {name.removeprefix(prefix): values for name, values in found if name.startswith(prefix)}


def _row(totals: Tensor, own: Tensor) -> dict[str, float]:
    """Return the mean, its difference to that of the run's own average, and both standard errors over the images."""
    value, difference = interval(totals[None]), interval((totals - own)[None])
    return {
        "value": value.value,
        "standard_error": value.standard_error,
        "difference": difference.value,
        "difference_standard_error": difference.standard_error,
    }


def _own_length(subject: Subject) -> float:
    """Return the length of the run's own average in the terms of the others."""
    facts = subject.snapshot.manifest(subject.store).facts
    settings = facts["settings"]
    return ema_sigma_rel(
        facts["images_seen"] // settings["batch_size"],
        settings["batch_size"],
        halflife_images=settings["ema_halflife_images"],
        rampup_ratio=settings["ema_rampup_ratio"],
    )


def _best(rows: Sequence[Mapping[str, Any]], variance: str, remark: str) -> Figure:
    """The length with the least bits/dim, for the variance that suits the run's own average best."""
    best = min(rows, key=lambda row: row["variances"][variance]["difference"])
    found = best["variances"][variance]
    error = found["difference_standard_error"]
    text = f"{number_text(found['difference'], error)} ± {number_text(error, error)}"
    return Figure(
        name="ema_length_best",
        value=best["sigma_rel"],
        label="EMA length with the least bits/dim",
        note=f"the best of {len(rows)} lengths; {text} bits/dim against the run's own, {variance.replace('_', ' ')}"
        + remark,
        headline=True,
    )


def _figures(row: Mapping[str, Any], note: str, images: int) -> list[Figure]:
    return [
        Figure(
            name=f"ema_{row['sigma_rel']}_{FIGURE}{_ESTIMATE}{variance}",
            value=found["value"],
            standard_error=found["standard_error"],
            terms=images,
            label=f"bits/dim, EMA length {row['sigma_rel']:g}, {variance.replace('_', ' ')}",
            note=note,
        )
        for variance, found in row["variances"].items()
    ]
