"""The stage `sample`, as the pipeline sees it."""

from collections.abc import Sequence

from flows.account import Account
from flows.artifacts import Artifact, Dataset, Samples, Snapshot
from flows.stage import Context, Stage
from flows.stages.sample.config import SampleConfig, check_label
from infra.storage.store import Store

_GRID_IMAGES = 64


def _run(config: SampleConfig, snapshot: Snapshot, context: Context) -> Samples:
    from flows.stages.sample.sampling import sample

    return sample(config, snapshot, context)


def _check(config: SampleConfig, dataset: Dataset) -> None:
    if dataset.class_names:
        check_label(config, len(dataset.class_names), "data")


def _settle(config: SampleConfig, dataset: Dataset, context: Context) -> None:
    if config.label >= 0 and dataset.class_names:
        check_label(config, len(dataset.class_names), "data", dataset.untrained_classes(context.store))


def _account(_config: SampleConfig, samples: Samples, _inputs: Sequence[Artifact], store: Store) -> Account:
    from flows.pages.pictures import sample_grid
    from infra.outputs.images import DatasetReader

    reader = DatasetReader(store=store, manifest=samples.manifest(store))
    images, _ = reader.load("samples", limit=_GRID_IMAGES)
    return Account(
        line=f"{samples.count:,} images",
        metrics={"sample/count": float(samples.count)},
        files={"samples.png": sample_grid(images)},
    )


SAMPLE = Stage(
    name="sample",
    about="Draw images from the network.",
    inputs=("train",),
    config=SampleConfig,
    artifact=Samples,
    run=_run,
    account=_account,
    check=_check,
    settle=_settle,
    folders=("sample",),
    grows=True,
)
