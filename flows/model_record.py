"""A trained network in the form in which MLflow lists models: its file by address and digest, and its settings."""

from flows.artifacts import Dataset, Snapshot
from infra.record import ModelFile
from infra.storage.store import Store

_KEY_DIGITS = 8


def model_file(snapshot: Snapshot, dataset: Dataset, store: Store) -> ModelFile:
    """Return the record of a snapshot's file.

    Args:
        snapshot: The trained network.
        dataset: The data set that it was trained on.
        store: The store that holds both.
    """
    trained, prepared = snapshot.manifest(store), dataset.manifest(store)
    (unit,) = trained.units
    settings = {"prepare": prepared.facts["settings"], "train": trained.facts["settings"] | trained.goal}
    return ModelFile(
        name=f"{prepared.facts['settings']['kind']}-{snapshot.key[:_KEY_DIGITS]}-{snapshot.images_seen}",
        uri=f"{store.uri}/{trained.folder}/{unit['file']}",
        sha256=unit["sha256"],
        params={f"{stage}.{name}": value for stage, part in settings.items() for name, value in part.items()},
        tags={"ddpm.stage_key": snapshot.key, "ddpm.digest": snapshot.digest, "ddpm.data_digest": dataset.digest},
    )
