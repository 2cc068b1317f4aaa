"""The stage `evaluate`, as the pipeline sees it."""

import json
from collections.abc import Sequence

from flows.artifacts import Artifact, Dataset, Figures, Samples, Snapshot
from flows.stage import Account, Context, Row, Stage, dataset_input
from flows.stages.evaluate.config import EvaluateConfig
from infra.storage.store import Store


def _run(config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context) -> Figures:
    from flows.stages.evaluate.evaluation import evaluate

    return evaluate(config, dataset, snapshot, samples, context)


def _check(config: EvaluateConfig, dataset: Dataset) -> None:
    from flows.stages.evaluate.evaluation import extractor_name

    extractor_name(config, dataset)


def _account(_config: EvaluateConfig, figures: Figures, inputs: Sequence[Artifact], store: Store) -> Account:
    dataset, snapshot, _ = inputs
    assert isinstance(dataset, Dataset), "the stage's first input is the data set"
    labelled = snapshot.manifest(store).facts["settings"]["class_conditional"]
    return Account(
        line=f"{figures.counts['bpd_images']:,} held-out images",
        metrics=figures.measures,
        files={"metrics.json": json.dumps(figures.metrics, indent=2, sort_keys=True).encode()},
        inputs=[dataset_input(dataset, store, "evaluation")],
        tags={f"ddpm.{name}": str(count) for name, count in figures.counts.items()},
        rows=_rows(figures, labelled=labelled),
    )


def _rows(figures: Figures, *, labelled: bool) -> list[Row]:
    """The distance and the bounds, for the table at the end of a run."""
    rows: list[Row] = []
    for name, value, error, note in figures.rows(labelled=labelled):
        if name == figures.extractor:
            rows.append((name, f"{value:.3f}", note))
        elif name.startswith("bits_per_dim_") and error is not None:
            rows.append(("bits/dim", f"{value:.3f} ± {error:.3f}", note))
    return rows


EVALUATE = Stage(
    name="evaluate",
    about="Measure samples and held-out images.",
    inputs=("prepare", "train", "sample"),
    config=EvaluateConfig,
    artifact=Figures,
    run=_run,
    account=_account,
    check=_check,
    folders=("bound", "features", "classifier", "evaluate"),
)
