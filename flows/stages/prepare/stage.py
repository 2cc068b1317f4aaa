"""The stage `prepare`, as the pipeline sees it."""

from collections.abc import Sequence

from flows.artifacts import Artifact, Dataset
from flows.stage import Account, Context, Stage, dataset_input
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.layout import card_name
from infra.digests import Json
from infra.storage.store import Store


def _run(config: PrepareConfig, context: Context) -> Dataset:
    from flows.stages.prepare.preparation import prepare

    return prepare(config, context)


def _account(_config: PrepareConfig, dataset: Dataset, _inputs: Sequence[Artifact], store: Store) -> Account:
    manifest = dataset.manifest(store)
    counts = {
        "train_images": dataset.train_images,
        "test_images": dataset.test_images,
        "quarantined_images": manifest.facts["quarantined"],
        "found_images": manifest.facts["read"],
    }
    return Account(
        line=f"{'; '.join(_parts(dataset, manifest.facts))}",
        metrics={f"prepare/{name}": float(count) for name, count in counts.items()},
        files={"card.html": store.read(card_name(manifest))},
        inputs=[dataset_input(dataset, store, "prepared")],
    )


def _parts(dataset: Dataset, facts: Json) -> list[str]:
    """The parts of the stage's line, as far as there is something to say."""
    parts = [f"{dataset.train_images:,} training and {dataset.test_images:,} held-out images"]
    parts += [f"{count:,} left out ({why})" for why, count in facts["filtered"].items()]
    if facts["quarantined"]:
        parts.append(f"{facts['quarantined']:,} in quarantine")
    if facts["others"]:
        kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in facts["others"].items())
        parts.append(f"other files not read ({kinds})")
    if facts["unlabelled"]:
        parts.append(f"labels ignored: {facts['unlabelled']:,} images have no class")
    train, test = (set(facts["classes"][split]) for split in ("train", "test"))
    if train and test and not train & test:
        parts.append("train and test have no class in common")
    return [*parts, f"{dataset.levels} levels"]


PREPARE = Stage(
    name="prepare",
    about="Images to a sealed data set.",
    inputs=(),
    config=PrepareConfig,
    artifact=Dataset,
    run=_run,
    account=_account,
    folders=("prepare",),
)
