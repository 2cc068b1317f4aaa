"""The likelihood of held-out images in up to three ways: the bound, its estimate from few timesteps, and the flow's."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import assert_never

from flows.artifacts import CURVES, Figure
from flows.metrics.choices import Likelihood
from flows.metrics.features import check_count
from flows.metrics.labels import check_labels, image_counts, images_without_label, is_conditional
from flows.metrics.likelihood_figures import likelihood_figures
from flows.metrics.likelihood_rows import columns
from flows.metrics.likelihood_works import FEWEST_HELD_OUT, likelihood_work, proposal_work
from flows.metrics.metric import Measured, Metric, Steps, Subject
from infra.compute.device import fixed_threads
from infra.outputs.manifest import Manifest, read_verified

# The sealed draws of each kind.
Sealed = Mapping[Likelihood, Sequence[Manifest]]


def _steps(subject: Subject) -> Steps:
    """Seal the proposal beside all that does not need it, then the estimates."""
    check_count("a likelihood", FEWEST_HELD_OUT, [subject.held_out])
    check_labels(subject)
    kinds = [kind for kind in Likelihood if kind in subject.settings["likelihood"]]
    draws: Sequence[int] = range(subject.settings["bpd_draws"])
    others = [kind for kind in kinds if kind != Likelihood.ESTIMATE]
    proposals = [proposal_work(subject)] if Likelihood.ESTIMATE in kinds else []
    manifests = yield [*proposals, *(likelihood_work(subject, kind, draw) for kind in others for draw in draws)]
    found, rest = manifests[: len(proposals)], manifests[len(proposals) :]
    sealed: dict[Likelihood, Sequence[Manifest]] = {
        kind: rest[place * len(draws) :][: len(draws)] for place, kind in enumerate(others)
    }
    for proposal in found:
        sealed[Likelihood.ESTIMATE] = yield [
            likelihood_work(subject, Likelihood.ESTIMATE, draw, proposal) for draw in draws
        ]
    return partial(_measure, subject, {kind: sealed[kind] for kind in kinds})


def _measure(subject: Subject, sealed: Sealed) -> Measured:
    figures: dict[str, Figure] = {}
    images = 0
    for kind, manifests in sealed.items():
        draws = [columns(manifest, subject.store) for manifest in manifests]
        images = len(next(iter(draws[0].values())))
        with fixed_threads(1):
            found = likelihood_figures(draws, _note(subject, kind, images))
        # The bound and its estimate share L_T.
        figures |= {figure.name: figure for figure in found if figure.name not in figures}
    ordered = sorted(figures.values(), key=lambda figure: not figure.headline)
    counts = image_counts(subject, images) | _counts(subject)
    return Measured(figures=ordered, counts=counts, files=_curves(subject, sealed))


LIKELIHOOD: Metric = _steps


def _note(subject: Subject, kind: Likelihood, images: int) -> str:
    """Describe what a kind's figure bounds, on how many images, and with how many draws of noise if several."""
    settings = subject.settings
    condition = " given their labels" if is_conditional(subject) else ""
    unlabelled = images_without_label(subject, images)
    if unlabelled == images:
        condition = " without labels, as none has a class of a training image"
    elif unlabelled:
        condition += f" ({unlabelled:,} without, as none has a class of a training image)"
    match kind:
        case Likelihood.BOUND:
            bound, more = "upper bound", ""
        case Likelihood.ESTIMATE:
            bound, more = "estimated upper bound", f", {settings['bpd_timesteps']} timesteps per image"
        case Likelihood.FLOW:
            bound, more = (
                "upper bound",
                f", probability flow of dequantised images, at most {settings['flow_steps']} steps",
            )
        case unknown:
            assert_never(unknown)
    draws = f", {settings['bpd_draws']} draws of noise" if settings["bpd_draws"] > 1 else ""
    return f"{bound} on -log p of {images:,.0f} held-out images{condition}, 256 levels{more}{draws}"


def _counts(subject: Subject) -> dict[str, int]:
    """Return the settings that tell how much the figures rest on, of those that are used."""
    settings = subject.settings
    kinds = settings["likelihood"]
    counts = {"bpd_draws": settings["bpd_draws"]} if settings["bpd_draws"] > 1 else {}
    counts |= {"bpd_timesteps": settings["bpd_timesteps"]} if Likelihood.ESTIMATE in kinds else {}
    return counts | ({"flow_steps": settings["flow_steps"]} if Likelihood.FLOW in kinds else {})


def _curves(subject: Subject, sealed: Sealed) -> dict[str, bytes]:
    """Return the bound by timestep, of its first draw of noise."""
    if Likelihood.BOUND not in sealed:
        return {}
    bound = sealed[Likelihood.BOUND][0]
    (curves,) = (unit for unit in bound.units if unit["facts"].get("kind") == CURVES)
    return {CURVES: read_verified(subject.store, bound.folder, curves)}
