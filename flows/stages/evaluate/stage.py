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
    measures = figures.measures
    rows = [
        (
            figures.extractor,
            f"{measures[f'eval/{figures.extractor}']:.3f}",
            f"Fréchet distance of {figures.counts['fd_samples']:,} samples to the training split",
        )
    ]
    kind = "estimated upper bound" if figures.bound_timesteps else "upper bound"
    given = " given the labels" if labelled else ""
    for variance in figures.variances:
        figure, error = (measures[f"eval/bits_per_dim_{variance}{end}"] for end in ("", "_stderr"))
        rows.append(("bits/dim", f"{figure:.3f} ± {error:.3f}", f"{kind}{given}, {variance}, 256 levels"))
    return rows


EVALUATE = Stage(
    name="evaluate",
    about="Samples and held-out images to figures.",
    inputs=("prepare", "train", "sample"),
    config=EvaluateConfig,
    artifact=Figures,
    run=_run,
    account=_account,
    check=_check,
    folders=("bound", "features", "classifier", "evaluate"),
)
