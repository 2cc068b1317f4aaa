"""The outputs of the likelihoods, one per kind and draw of noise, each with a key of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import assert_never

from torch import Tensor

from flows.artifacts import CURVES, Snapshot
from flows.metrics.bound_curves import bound_curves
from flows.metrics.bound_units import bound_terms
from flows.metrics.choices import Likelihood
from flows.metrics.estimate_units import estimated_terms, second_moments
from flows.metrics.flow_units import flow_terms
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from flows.metrics.metric import Subject
from flows.metrics.together import Work
from flows.nodes.environment import Environment
from infra.compute.device import fixed_threads, prepare_process
from infra.digests import Json, canonical_json
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors

BOUND_VERSION = 5
ESTIMATE_VERSION = 1
FLOW_VERSION = 1
PROPOSAL = "proposal"
PROPOSAL_VERSION = 1
# Estimates of rebuilt snapshots; a name of their own, since they share the proposal of the snapshot of the run.
REBUILT_ESTIMATE = "rebuilt_estimate"
REBUILT_ESTIMATE_VERSION = 1
# A mean over fewer images has no standard error.
FEWEST_HELD_OUT = 2
# Settings that every kind depends on.
_SHARED = ("batch_size", "seed", "threads")

# (inputs, number of the first image, number after the last) -> tensors with a row per image.
Terms = Callable[[Inputs, int, int], dict[str, Tensor]]


def likelihood_work(subject: Subject, kind: Likelihood, draw: int, proposal: Manifest | None = None) -> Work:
    """The likelihood of the held-out images under a draw of noise.

    Args:
        subject: Names the images, the network and the settings.
        kind: The likelihood.
        draw: The number of the draw, from 0; the first draw has the same key however many follow.
        proposal: Sealed, for an estimate.
    """
    settings = _settings(subject, draw)
    count, size = min(settings.images, subject.dataset.test_images), settings.batch_size
    terms: Terms
    own: tuple[str, ...]
    match kind:
        case Likelihood.BOUND:
            terms, version, own = bound_terms, BOUND_VERSION, ()
        case Likelihood.ESTIMATE:
            assert proposal is not None, "the proposal is sealed before an estimate begins"
            terms, version, own = _Estimated(proposal), ESTIMATE_VERSION, ("bpd_timesteps",)
        case Likelihood.FLOW:
            terms, version, own = flow_terms, FLOW_VERSION, ("flow_steps",)
        case unknown:
            assert_never(unknown)
    return _work(
        subject,
        settings,
        label=kind.value if draw == 0 else f"{kind.value}_{draw + 1}",
        plan=(kind.value, version, ["bpd_images", *own]),
        batches=[(start, min(start + size, count)) for start in range(0, count, size)],
        terms=terms,
    )


def proposal_work(subject: Subject) -> Work:
    """The distribution of timesteps for estimates, fitted on the first batch of the training split.

    All draws of noise, counts of timesteps and held-out images share it.
    """
    settings = _settings(subject, 0)
    batch = (0, min(settings.batch_size, subject.dataset.train_images))
    return _work(
        subject,
        settings,
        label=PROPOSAL,
        plan=(PROPOSAL, PROPOSAL_VERSION, []),
        batches=[batch],
        terms=second_moments,
    )


def rebuilt_estimate_work(subject: Subject, rebuilt: Snapshot, proposal: Manifest, *, label: str) -> Work:
    """The estimate of the bound for a rebuilt snapshot, with the first draw of noise and the run's own proposal.

    Timesteps and noise are then those of the run's own estimate, so that the two can be compared image by image.

    Args:
        subject: Names the images, the run's own network and the settings.
        rebuilt: The network to measure.
        proposal: Sealed, of the run's own network.
        label: The name of the output among those that figures rest on.
    """
    settings = _settings(subject, 0)
    count, size = min(settings.images, subject.dataset.test_images), settings.batch_size
    return _work(
        replace(subject, trained=(rebuilt, subject.dataset)),
        settings,
        label=label,
        plan=(REBUILT_ESTIMATE, REBUILT_ESTIMATE_VERSION, ["bpd_images", "bpd_timesteps"]),
        batches=[(start, min(start + size, count)) for start in range(0, count, size)],
        terms=_Estimated(proposal),
        inputs={"proposal": proposal.digest},
    )


def _settings(subject: Subject, draw: int) -> LikelihoodSettings:
    of = subject.settings
    return LikelihoodSettings(
        images=of["bpd_images"],
        batch_size=of["batch_size"],
        seed=of["seed"],
        draw=draw,
        timesteps=of.get("bpd_timesteps", 0),
        flow_steps=of.get("flow_steps", 0),
        threads=of["threads"],
        device=subject.device,
    )


def _work(
    subject: Subject,
    settings: LikelihoodSettings,
    *,
    label: str,
    plan: tuple[str, int, Sequence[str]],
    batches: list[tuple[int, int]],
    terms: Terms,
    inputs: Mapping[str, str] = MappingProxyType({}),
) -> Work:
    stage, version, own = plan
    draw: Json = {"draw": settings.draw} if settings.draw else {}

    def task(output: Output, device: str) -> LikelihoodTask:
        return LikelihoodTask(
            output=output,
            settings=replace(settings, device=device),
            batches=batches,
            dataset=subject.dataset.manifest(subject.store),
            trained=subject.snapshot.manifest(subject.store),
            terms=terms,
        )

    return Work(
        label=label,
        plan=Plan(
            stage=stage,
            format_version=version,
            settings=subject.key_of([*own, *_SHARED]) | draw | _without_label(subject),
            inputs={"dataset": subject.dataset.digest, "snapshot": subject.snapshot.digest, **inputs},
        ),
        environment=Environment(work="measuring", device=settings.device),
        names=[_name(number) for number in range(len(batches))],
        task=task,
        seal=partial(_seal, batches=batches, settings=settings),
    )


def _without_label(subject: Subject) -> Json:
    """The classes of which images are measured without their label; nothing if there are none."""
    untrained = subject.dataset.untrained_classes(subject.store)
    if not untrained or not subject.snapshot.manifest(subject.store).facts["settings"]["class_conditional"]:
        return {}
    return {"untrained_classes": list(untrained)}


def _name(number: int) -> str:
    return f"units/{number:06d}"


@dataclass(frozen=True, kw_only=True)
class LikelihoodTask:
    """Computes the terms of one batch of images at a time."""

    output: Output
    settings: LikelihoodSettings
    batches: list[tuple[int, int]]
    dataset: Manifest
    trained: Manifest
    terms: Terms

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits one batch."""
        prepare_process(self.settings.threads)
        inputs = Inputs(settings=self.settings, dataset=self.dataset, trained=self.trained, store=self.output.store)

        def run(number: int) -> None:
            tensors = self.terms(inputs, *self.batches[number])
            self.output.commit(_name(number), "safetensors", encode_tensors(tensors, {}), {})

        return run


@dataclass(frozen=True)
class _Estimated:
    """The estimate's terms, with the proposal read from its output."""

    proposal: Manifest

    def __call__(self, inputs: Inputs, start: int, stop: int) -> dict[str, Tensor]:
        (unit,) = self.proposal.units
        fitted, _ = decode_tensors(read_verified(inputs.store, self.proposal.folder, unit), unit["file"])
        return estimated_terms(inputs, fitted, start, stop)


def _seal(output: Output, batches: list[tuple[int, int]], settings: LikelihoodSettings) -> Manifest:
    """Seal the units, and the curves over t if every term is known."""
    units, records = [], []
    for number, (start, stop) in enumerate(batches):
        record = output.record(_name(number))
        assert record is not None, f"unit {number} was committed and has no record"
        units.append({"unit": number, "rows": stop - start, **record.as_json()})
        records.append(record)
    if output.plan.stage == Likelihood.BOUND:
        with fixed_threads(1):
            curves = bound_curves(
                lambda: (decode_tensors(output.read(record), record.file)[0] for record in records), batches[-1][1]
            )
        record = output.commit(CURVES, "json", canonical_json(curves), {"kind": CURVES})
        units.append({"unit": len(units), "rows": 1, **record.as_json()})
    about = {name: value for name, value in asdict(settings).items() if name != "device"}
    return output.seal({}, units, {"settings": about})
