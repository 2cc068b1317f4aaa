"""The bound on the negative log-likelihood of held-out images: an output of its own, whatever else is measured."""

from dataclasses import asdict
from functools import partial

import torch

from flows.artifacts import CURVES, Dataset, Snapshot
from flows.metrics.bound_figures import COUNTS, bound_curves, bound_figures, bound_metrics
from flows.metrics.bound_units import PROPOSAL, BoundSettings, BoundTask
from flows.metrics.choices import MetricName
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.together import Work
from infra.compute.device import environment, fixed_threads
from infra.digests import Json, canonical_json
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors
from infra.storage.store import Store

STAGE = "bound"
FORMAT_VERSION = 4
# Settings that it uses beside those that it alone uses.
_SHARED = ("threads",)


def _steps(subject: Subject) -> Steps:
    settings = BoundSettings(
        images=subject.settings["bpd_images"],
        timesteps=subject.settings["bpd_timesteps"],
        batch_size=subject.settings["batch_size"],
        seed=subject.settings["seed"],
        threads=subject.settings["threads"],
        device=subject.device,
    )
    key = subject.key_of([*MetricName.BITS_PER_DIM.uses, *_SHARED])
    (bound,) = yield [bound_work(settings, key, subject.dataset, subject.snapshot, store=subject.store)]
    return partial(_measure, subject, bound)


def _measure(subject: Subject, bound: Manifest) -> Measured:
    labelled = subject.snapshot.manifest(subject.store).facts["settings"]["class_conditional"]
    files = {
        unit["facts"]["kind"]: read_verified(subject.store, bound.folder, unit)
        for unit in bound.units
        if "kind" in unit["facts"]
    }
    return Measured(
        figures=bound_figures(bound.facts["metrics"], labelled=labelled),
        counts={name: int(bound.facts["metrics"][f"eval/{name}"]) for name in COUNTS},
        files=files,
    )


BOUND: Metric = _steps


def bound_work(settings: BoundSettings, key: Json, dataset: Dataset, snapshot: Snapshot, *, store: Store) -> Work:
    """The bound of a snapshot on the held-out split.

    Args:
        settings: Of the bound.
        key: Those of its settings that enter the key.
        dataset: With the held-out images.
        snapshot: Of the network.
        store: Where both are.
    """
    count = min(settings.images, dataset.test_images)
    size = settings.batch_size
    batches = [(start, min(start + size, count)) for start in range(0, count, size)]
    proposal = [PROPOSAL] if settings.timesteps else []
    names = [*proposal, *(f"units/{number:06d}" for number in range(len(batches)))]

    def task(output: Output) -> BoundTask:
        return BoundTask(
            output=output,
            settings=settings,
            names=names,
            batches=[*((0, min(size, dataset.train_images)) for _ in proposal), *batches],
            dataset=dataset.manifest(store),
            trained=snapshot.manifest(store),
        )

    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=key,
        inputs={"dataset": dataset.digest, "snapshot": snapshot.digest},
    )
    return Work(
        label=STAGE,
        plan=plan,
        environment=environment(settings.device),
        names=names,
        task=task,
        seal=lambda output: _seal(output, names, batches, settings),
        device=settings.device,
        first=len(proposal),
    )


def _seal(output: Output, names: list[str], batches: list[tuple[int, int]], settings: BoundSettings) -> Manifest:
    """Seal the units with the means over them, and the curves if all terms were summed."""
    rows = [1] * (len(names) - len(batches)) + [stop - start for start, stop in batches]
    units, parts = [], []
    for number, (name, count) in enumerate(zip(names, rows, strict=True)):
        record = output.record(name)
        assert record is not None, f"{name} was committed and has no record"
        units.append({"unit": number, "rows": count, **record.as_json()})
        if name != PROPOSAL:
            parts.append(decode_tensors(output.read(record), record.file)[0])
    with fixed_threads(1):
        columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        about = {name: value for name, value in asdict(settings).items() if name != "device"}
        facts = {"metrics": bound_metrics(columns, settings.timesteps), "settings": about}
        if "eps_mse" in columns:
            record = output.commit(CURVES, "json", canonical_json(bound_curves(columns)), {"kind": CURVES})
            units.append({"unit": len(units), "rows": 1, **record.as_json()})
    return output.seal({}, units, facts)
