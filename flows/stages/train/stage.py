"""The stage `train`, as the pipeline sees it."""

import json
from collections.abc import Sequence

from flows.account import Account, dataset_input
from flows.artifacts import Artifact, Dataset, Snapshot
from flows.model_record import model_file
from flows.points import best_point, read_points
from flows.stage import Context, Stage
from flows.stages.train.config import TrainConfig
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output
from infra.record import Picture
from infra.storage.store import Store

# MLflow receives a snapshot up to this size as a file, a larger one as its URI and digest.
MAX_SNAPSHOT_BYTES = 64 << 20


def _run(config: TrainConfig, dataset: Dataset, context: Context) -> Snapshot:
    from flows.stages.train.training import train

    return train(config, dataset, context)


def _check(config: TrainConfig, dataset: Dataset) -> None:
    from flows.stages.train.training import check_network

    check_network(config, dataset)


def _spare(output: Output) -> list[str]:
    from flows.stages.train.checkpoints import spare_checkpoints

    return spare_checkpoints(output)


def _account(config: TrainConfig, snapshot: Snapshot, inputs: Sequence[Artifact], store: Store) -> Account:
    (dataset,) = inputs
    assert isinstance(dataset, Dataset), "the stage's one input is the data set"
    manifest = snapshot.manifest(store)
    (unit,) = manifest.units
    name = f"{manifest.folder}/{unit['file']}"
    history, points = manifest.facts["history"], read_points(manifest.facts)
    best = best_point(points)
    tags = {"ddpm.snapshot": f"{store.uri}/{name}", "ddpm.snapshot_sha256": unit["sha256"]}
    if best is not None:
        tags |= {"ddpm.best": f"{store.uri}/{manifest.folder}/{best.file}", "ddpm.best_sha256": best.sha256}
    files = {"history.jsonl": "".join(json.dumps(row, sort_keys=True) + "\n" for row in history).encode()}
    if unit["bytes"] <= MAX_SNAPSHOT_BYTES:
        files["snapshot.safetensors"] = store.read(name)
    initial = manifest.facts.get("initial")
    return Account(
        line=f"{snapshot.images_seen:,} images seen" + (f" since {initial['source']}" if initial else ""),
        history=[*history, *(point.row() for point in points if point.figures is not None)],
        files=files,
        pictures=lambda: _pictures(store, manifest),
        inputs=[dataset_input(dataset, store, "training")],
        tags=tags | ({"ddpm.initial": initial["place"], "ddpm.initial_digest": initial["digest"]} if initial else {}),
        model=model_file(snapshot, dataset, store),
    )


def _pictures(store: Store, manifest: Manifest) -> list[Picture]:
    from flows.stages.train.grids import grids_along

    return grids_along(store, manifest)


TRAIN = Stage(
    name="train",
    about="Train a network on the data set.",
    inputs=("prepare",),
    config=TrainConfig,
    artifact=Snapshot,
    run=_run,
    account=_account,
    check=_check,
    folders=("train", "initial"),
    spare=_spare,
)
