"""The stage `evaluate`, as the pipeline sees it."""

import json
from collections.abc import Sequence

from flows.artifacts import Artifact, Checkpoint, Dataset, Report, Samples
from flows.stage import Account, Context, Row, Stage, dataset_input
from flows.stages.evaluate.config import EvaluateConfig
from infra.store import Store


def _run(
    config: EvaluateConfig, dataset: Dataset, checkpoint: Checkpoint, samples: Samples, context: Context
) -> Report:
    from flows.stages.evaluate.evaluation import evaluate

    return evaluate(config, dataset, checkpoint, samples, context)


def _check(config: EvaluateConfig, dataset: Dataset) -> None:
    from flows.stages.evaluate.evaluation import extractor_name

    extractor_name(config, dataset)


def _account(_config: EvaluateConfig, report: Report, inputs: Sequence[Artifact], store: Store) -> Account:
    dataset, checkpoint, _ = inputs
    assert isinstance(dataset, Dataset), "the stage's first input is the data set"
    labelled = checkpoint.manifest(store).facts["settings"]["class_conditional"]
    return Account(
        line=f"{report.counts['bpd_images']:,} held-out images",
        metrics=report.figures,
        files={"metrics.json": json.dumps(report.metrics, indent=2, sort_keys=True).encode()},
        inputs=[dataset_input(dataset, store, "evaluation")],
        tags={f"ddpm.{name}": str(count) for name, count in report.counts.items()},
        rows=_rows(report, labelled=labelled),
    )


def _rows(report: Report, *, labelled: bool) -> list[Row]:
    figures = report.figures
    rows = [
        (
            report.extractor,
            f"{figures[f'eval/{report.extractor}']:.3f}",
            f"Fréchet distance of {report.counts['fd_samples']:,} samples to the training split",
        )
    ]
    kind = "estimated upper bound" if report.bound_timesteps else "upper bound"
    given = " given the labels" if labelled else ""
    for variance in report.variances:
        figure, error = (figures[f"eval/bits_per_dim_{variance}{end}"] for end in ("", "_stderr"))
        rows.append(("bits/dim", f"{figure:.3f} ± {error:.3f}", f"{kind}{given}, {variance}, 256 levels"))
    return rows


EVALUATE = Stage(
    name="evaluate",
    about="Samples and held-out images to figures.",
    inputs=("prepare", "train", "sample"),
    config=EvaluateConfig,
    artifact=Report,
    run=_run,
    account=_account,
    check=_check,
    folders=("features", "evaluate"),
)
