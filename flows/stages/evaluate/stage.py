"""The stage `evaluate`, as the pipeline sees it."""

import json
from collections.abc import Sequence

from flows.account import Account, dataset_input
from flows.artifacts import Artifact, Dataset, Figures, Samples, Snapshot, figure_text, number_text
from flows.metrics.conditions import model_figures
from flows.model_record import model_file
from flows.provenance import read_provenance
from flows.stage import Context, Stage
from flows.stages.evaluate.config import EvaluateConfig
from infra.record import MeasuredModel
from infra.storage.store import Store


def _run(config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context) -> Figures:
    from flows.stages.evaluate.evaluation import evaluate

    return evaluate(config, dataset, snapshot, samples, context)


def _check(config: EvaluateConfig, dataset: Dataset) -> None:
    from flows.metrics.extractor_checks import check_file, check_metrics
    from flows.metrics.extractors import settled_extractor
    from flows.metrics.reference_file import check_reference

    if "extractor" not in config.unused():
        extractor = settled_extractor(config.extractor, dataset)
        check_metrics(extractor, config.metrics)
        check_file(extractor, config.extractor_weights, config.extractor_sha256, dataset)
        if config.reference_statistics:
            check_reference(config.reference_statistics, extractor, config.metrics)


def _settle(config: EvaluateConfig, dataset: Dataset, context: Context) -> None:
    """Fit an extractor whose failure would end the run, before training, which may take days."""
    from flows.metrics.extractors import settled_extractor
    from flows.stages.evaluate.evaluation import needs_a_fit, settled_features

    if "extractor" not in config.unused() and needs_a_fit(config, settled_extractor(config.extractor, dataset)):
        settled_features(config, dataset, context)


def _account(config: EvaluateConfig, figures: Figures, inputs: Sequence[Artifact], store: Store) -> Account:
    dataset, snapshot, samples = inputs
    assert isinstance(dataset, Dataset), "the stage's first input is the data set"
    assert isinstance(snapshot, Snapshot), "the second is the snapshot"
    assert isinstance(samples, Samples), "the third is the samples"
    provenance = [part.as_json() for part in read_provenance(figures.manifest(store))]
    return Account(
        line="; ".join(
            [
                *(
                    f"{figure.label} {number_text(figure.value, figure.standard_error)}"
                    for figure in figures.figures
                    if figure.headline
                ),
                *figures.left_out_lines,
            ]
        ),
        metrics=figures.metrics,
        files={
            "metrics.json": json.dumps(figures.metrics | figures.counts, indent=2, sort_keys=True).encode(),
            "provenance.json": json.dumps(provenance, indent=2).encode(),
        },
        inputs=[dataset_input(dataset, store, "evaluation")],
        tags={f"ddpm.{name}": str(count) for name, count in figures.counts.items()}
        | {f"ddpm.left_out.{name}": reason for name, reason in figures.left_out.items()},
        measured=MeasuredModel(
            file=model_file(snapshot, dataset, store),
            figures=model_figures(config.key_settings(), figures, dataset, snapshot, samples, store=store),
        ),
        rows=[
            *((figure.label, figure_text(figure), figure.note) for figure in figures.figures if figure.headline),
            *((name, "left out", reason) for name, reason in figures.left_out.items()),
        ],
    )


EVALUATE = Stage(
    name="evaluate",
    about="Measure samples and held-out images.",
    inputs=("prepare", "train", "sample"),
    config=EvaluateConfig,
    artifact=Figures,
    run=_run,
    account=_account,
    check=_check,
    settle=_settle,
    folders=(
        "proposal",
        "bound",
        "estimate",
        "flow",
        "rebuilt",
        "rebuilt_estimate",
        "features",
        "statistics",
        "left_out",
        "kernel",
        "class_scores",
        "neighbours",
        "balls",
        "feature_likelihood",
        "classifier",
        "weights",
        "evaluate",
    ),
)
