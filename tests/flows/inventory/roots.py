"""Roots with runs and outputs of a few bytes, that the code of real ones wrote."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.inventory.inventory import Inventory
from flows.inventory.pruning import Pruning, find_removals
from flows.inventory.reading import Reader
from flows.inventory.removal import spare_objects
from flows.run_record import FinishedRun, RunRecord
from infra.outputs.costs import Attempt, Costs, records_by_output
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.storage.store import Store

ENVIRONMENT = {"torch": "2.13.0", "device": "cpu"}
FIGURE = Figure(
    name="fd_pixels", value=7.5, standard_error=0.5, label="FD of pixels", note="to the training split", headline=True
)


def output(
    store: Store, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str], attempt: int = 0
) -> Output:
    """An output of a plan, not begun."""
    plan = Plan(stage=stage, format_version=1, settings=dict(settings), inputs=dict(inputs))
    return Output(store=store, plan=plan, attempt=attempt)


def begin(made: Output, units: int = 2) -> Output:
    """Begin an output and commit some units, whose bytes are a function of plan and unit."""
    made.begin(ENVIRONMENT)
    for number in range(units):
        made.commit(f"units/{number:06d}", "bin", f"{made.plan.key} {number}".encode() * 10, {})
    return made


def seal(made: Output, goal: dict[str, int], facts: dict[str, Any], units: int = 2) -> Manifest:
    """Begin and seal an output."""
    begin(made, units)
    records = [made.record(f"units/{number:06d}") for number in range(units)]
    rows = [{"unit": n, "rows": 1, **record.as_json()} for n, record in enumerate(records) if record is not None]
    return made.seal(goal, rows, facts)


def make_run(
    store: Store,
    name: str = "digits-1a2b3c4d",
    *,
    seed: int = 0,
    attempt: int = 0,
    finish: bool = True,
    rate: float = 0.1,
) -> dict[str, Manifest]:
    """Seal the outputs of a run and, to finish it, write its record; return the manifests by stage.

    Runs share a data set; they share a network too if their `rate` is one, and all but samples if only seeds differ.
    """
    data = {"image_size": 8, "channels": 1, "kind": "digits"}
    facts = {"images": {"train": 9, "test": 3}, "settings": data, "class_names": ["0", "1"], "levels": 17}
    prepared = seal(output(store, "prepare", {}, {"listing": "ab" * 32}, attempt), {}, facts)
    trained = seal(
        output(store, "train", {"learning_rate": rate}, {"dataset": prepared.digest}, attempt),
        {"images": 640},
        {"images_seen": 640, "num_timesteps": 20, "settings": {"learning_rate": rate, "batch_size": 64}},
        1,
    )
    sampled = seal(
        output(store, "sample", {"seed": seed} if seed else {}, {"snapshot": trained.digest}, attempt),
        {"count": 2},
        {"images": 2, "settings": {"seed": seed}},
    )
    sides = {"features_samples": sampled.digest, "features_reference": prepared.digest}
    features = {
        label: seal(output(store, "features", {}, {"images": digest, "classifier": ""}, attempt), {}, {})
        for label, digest in sides.items()
    }
    evaluated = seal(
        output(store, "evaluate", {}, {label: one.digest for label, one in features.items()}, attempt),
        {},
        {
            "figures": [vars(FIGURE)],
            "counts": {"samples": 2},
            "extractor": "pixels",
            "settings": {"metrics": ["fd"]},
            "outputs": {label: one.folder for label, one in features.items()},
        },
        1,
    )
    if finish:
        finished = FinishedRun(
            dataset=Dataset.of(prepared),
            snapshot=Snapshot.of(trained),
            samples=Samples.of(sampled),
            figures=Figures.of(evaluated),
        )
        RunRecord(name=name, finished=finished, elsewhere={"MLflow": "http://m/"}).write(store)
    made = {"prepare": prepared, "train": trained, "sample": sampled, "evaluate": evaluated}
    return made | features


def inventory(store: Store) -> Inventory:
    """Everything below the root."""
    return Reader(store=store).inventory()


def pruning(store: Store, now_s: float = 2e9, older_than_s: float = 0.0, **more: Any) -> Pruning:
    """Find the things that nothing refers to."""
    return find_removals(
        inventory(store),
        now_s=now_s,
        older_than_s=older_than_s,
        spare=lambda one: spare_objects(store, one),
        costs=records_by_output(store),
        **more,
    )


def record_costs(store: Store, made: Mapping[str, Manifest]) -> None:
    """Record an attempt at each of these outputs, unless one is recorded already."""
    for manifest in made.values():
        stage, _, work = manifest.folder.partition("/")
        costs = Costs(store=store, stage=stage, work=work)
        if not costs.attempts():
            costs.claim(Attempt(stage=stage, output=manifest.folder, outcome="sealed", done=9, wall_s=60.0))


def without_leases(store: Store) -> dict[str, bytes]:
    """Every object below the root by its name, but for leases and what is in flight."""
    names = (name for name in store.list(".") if "/lease/" not in name and not name.startswith((".tmp/", ".leases/")))
    return {name: store.read(name) for name in names}


def aside(made: Output, attempt: int) -> Output:
    """Another attempt at an output's plan."""
    return replace(made, attempt=attempt)
