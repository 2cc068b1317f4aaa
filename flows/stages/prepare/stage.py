"""The stage `prepare`, as the pipeline sees it."""

from collections.abc import Sequence

from flows.account import Account, dataset_input
from flows.artifacts import Artifact, Dataset
from flows.stage import Context, Stage
from flows.stages.prepare.account import account_parts
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.layout import card_name
from infra.storage.store import Store


def _run(config: PrepareConfig, context: Context) -> Dataset:
    from flows.stages.prepare.preparation import prepare

    return prepare(config, context)


def _account(config: PrepareConfig, dataset: Dataset, _inputs: Sequence[Artifact], store: Store) -> Account:
    from flows.stages.prepare.sources import source_inputs

    manifest = dataset.manifest(store)
    counts = {
        "train_images": dataset.train_images,
        "test_images": dataset.test_images,
        "quarantined_images": manifest.facts["quarantined"],
        "found_images": manifest.facts["read"],
    }
    return Account(
        line="; ".join(account_parts(dataset, manifest.facts)),
        metrics={f"prepare/{name}": float(count) for name, count in counts.items()},
        files={"card.html": store.read(card_name(manifest))},
        inputs=[*source_inputs(config, dataset.key, "source"), dataset_input(dataset, store, "prepared")],
    )


PREPARE = Stage(
    name="prepare",
    about="Turn images into a sealed data set.",
    inputs=(),
    config=PrepareConfig,
    artifact=Dataset,
    run=_run,
    account=_account,
    folders=("prepare",),
    grows=True,
)
