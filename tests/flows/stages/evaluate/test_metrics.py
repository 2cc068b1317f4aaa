"""The metrics that a run computes are a choice: each alone, with a page of its own, and in the table's order."""

import json
import math
import pkgutil
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

import infra.features.classifier
from flows.artifacts import MEMORISED, Figures
from flows.metrics import extractors
from flows.metrics.choices import MetricName
from flows.metrics.metric import merged
from flows.run_record import FinishedRun
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.evaluate.stage import EVALUATE
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.sections import render_page
from infra.compute.units import Workers
from infra.errors import ConfigError, ResourceError
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun, revised


def figures_of(run: TinyRun, *metrics: str, **changes: Any) -> Figures:
    config = revised(run.config.evaluate, {"metrics": list(metrics), **changes})
    return evaluate(config, run.dataset, run.snapshot, run.samples, run.context)


def page_of(run: TinyRun, figures: Figures) -> str:
    finished = FinishedRun(dataset=run.dataset, snapshot=run.snapshot, samples=run.samples, figures=figures)
    outputs = read_outputs(run.store, finished)
    return render_page("a-run", outputs, draw(outputs), {})


def test_the_distance_alone(tiny_run: TinyRun) -> None:
    figures = figures_of(tiny_run, "fd")
    assert figures.metrics == {"eval/fd_pixels": tiny_run.figures.metrics["eval/fd_pixels"]}
    assert (figures.counts, figures.extractor) == ({"distance_samples": 24}, "pixels")
    page = page_of(tiny_run, figures)
    assert "fd_pixels" in page
    assert "Terms of the bound" not in page
    assert "Rate and distortion" not in page


def test_the_bound_alone_needs_no_extractor(tiny_run: TinyRun) -> None:
    figures = figures_of(tiny_run, "bits_per_dim", extractor="classifier")
    whole = tiny_run.figures.metrics
    assert figures.metrics == {name: value for name, value in whole.items() if name != "eval/fd_pixels"}
    assert figures.extractor == ""
    assert tiny_run.store.list("classifier") == []
    page = page_of(tiny_run, figures)
    assert "fd_" not in page.partition("<h2>Samples")[0]
    assert "Rate and distortion" in page


def test_the_report_has_every_likelihood_and_the_curves_of_the_bound(tiny_run: TinyRun) -> None:
    kinds = {"likelihood": ["bound", "estimate", "flow"], "bpd_timesteps": 3, "flow_steps": 4, "bpd_draws": 2}
    page = page_of(tiny_run, figures_of(tiny_run, "bits_per_dim", **kinds))
    assert "bits/dim, estimate, fixed large" in page
    assert "bits/dim, flow" in page
    assert "estimate fixed large" in page.partition("Terms of the bound")[2], "its terms have a row"
    assert "Rate and distortion" in page


def test_their_order_in_the_setting_is_no_matter(tiny_run: TinyRun) -> None:
    figures = figures_of(tiny_run, "bits_per_dim", "fd")
    assert (figures.key, figures.figures) == (tiny_run.figures.key, tiny_run.figures.figures)


def test_settings_that_no_chosen_metric_uses_change_no_key(tiny_run: TinyRun) -> None:
    distance = figures_of(tiny_run, "fd")
    assert figures_of(tiny_run, "fd", bpd_images=12, batch_size=4).key == distance.key
    assert figures_of(tiny_run, "fd", seed=3).key != distance.key  # of the groups that are left out
    shares = figures_of(tiny_run, "precision_recall")
    assert figures_of(tiny_run, "precision_recall", seed=3).key == shares.key
    assert figures_of(tiny_run, "fd", extractor="auto").key != distance.key


def test_a_pool_has_gpus_only_if_missing_work_needs_them(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    honest = tiny_run.context.cluster.nodes.hold

    def hold(workers: Workers, **more: Any) -> object:
        asked.append(workers.gpus)
        return honest(workers, **more)

    monkeypatch.setattr(tiny_run.context.cluster.nodes, "hold", hold)
    figures_of(tiny_run, "fd", extractor="auto", device="cuda")
    assert set(asked) == {0}


def test_facts_have_no_setting_that_was_not_used(tiny_run: TinyRun) -> None:
    settings = figures_of(tiny_run, "bits_per_dim", extractor="pixels").manifest(tiny_run.store).facts["settings"]
    assert "extractor" not in settings
    assert settings["bpd_images"] == 16


def test_two_results_of_one_name_are_refused() -> None:
    assert merged("counts", [{"a": 1}, {"a": 1, "b": 2}]) == {"a": 1, "b": 2}
    with pytest.raises(AssertionError, match="two counts of metrics are called a"):
        merged("counts", [{"a": 1}, {"a": 2}])


def test_a_fitted_extractors_accuracy_stands_beside_the_distance(tiny_run: TinyRun) -> None:
    figures = figures_of(tiny_run, "fd", extractor="classifier").figures
    distance, accuracy = figures
    assert (distance.name, accuracy.name, accuracy.headline) == ("fd_classifier", "accuracy_classifier", False)
    images = tiny_run.dataset.test_images
    assert f"right for {accuracy.value:.0%} of {images} held-out images" in distance.note
    assert accuracy.standard_error == pytest.approx((accuracy.value * (1 - accuracy.value) / images) ** 0.5)


def test_a_classifier_near_chance_is_refused_and_auto_takes_the_pixels(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 0)  # it learns nothing
    monkeypatch.setattr(extractors, "FORMAT_VERSION", 98)
    with pytest.raises(ConfigError, match=r"near the \d+% of its largest class: its features tell nothing") as caught:
        figures_of(tiny_run, "fd", extractor="classifier")
    assert caught.value.remedy == "set evaluate.extractor=pixels"
    (distance,) = figures_of(tiny_run, "fd", extractor="auto").figures
    assert distance.name == "fd_pixels"
    assert "pixels, since the classifier is right for" in distance.note


def test_every_metric_of_an_extractor_with_classes_in_one_evaluation(tiny_run: TinyRun) -> None:
    others = (MetricName.BITS_PER_DIM, MetricName.SFD, MetricName.EMA_LENGTHS)
    metrics = [name for name in MetricName if name not in others]
    figures = figures_of(tiny_run, *metrics, extractor="classifier")
    by_name = {figure.name: figure for figure in figures.figures}
    expected = {"fd", "kid", "is", "is_one_split", "precision", "recall", "density", "coverage", "auth_pct", "fld_gap"}
    expected |= {"memorised"}
    # docs/extending.md may have added a metric to this project.
    assert set(by_name) >= {f"{name}_classifier" for name in expected | {"accuracy"}}
    assert all(math.isfinite(figure.value) for figure in by_name.values())
    certain = expected - {"fd", "is_one_split"}  # fewer samples than dimensions; one value
    assert all(by_name[f"{name}_classifier"].standard_error is not None for name in certain)
    assert figures_of(tiny_run, *metrics, extractor="classifier").figures == figures.figures


def test_the_report_shows_the_samples_nearest_to_training_images_if_that_was_measured(tiny_run: TinyRun) -> None:
    title = "<h2>Samples nearest to training images</h2>"
    assert title not in page_of(tiny_run, figures_of(tiny_run, "fd"))
    figures = figures_of(tiny_run, "memorised")
    page = page_of(tiny_run, figures)
    assert page.count(title) == 1
    manifest = figures.manifest(tiny_run.store)
    (unit,) = (unit for unit in manifest.units if unit["facts"]["kind"] == MEMORISED)
    sealed = json.loads(read_verified(tiny_run.store, manifest.folder, unit))
    section = page.partition(title)[2].partition("<h2>")[0]
    cells = r'<td class="figure">([^<]*)</td>'
    rows = re.findall(rf"<tr>{cells * 4}<td>(yes|no)</td></tr>", section)
    assert [(int(sample), int(image)) for sample, image, *_ in rows] == [
        (pair["sample"], pair["training_image"]) for pair in sealed["pairs"]
    ]
    assert [memorised for *_, memorised in rows] == [
        "yes" if pair["ratio"] <= sealed["limit"] else "no" for pair in sealed["pairs"]
    ]
    shares = {figure.name: figure.value for figure in figures.figures}
    counted = sum(memorised == "yes" for *_, memorised in rows)
    assert counted == min(8, round(shares["memorised_pixels"] * tiny_run.samples.count))


def test_a_metric_that_the_extractor_cannot_serve_is_refused_before_anything_is_computed(tiny_run: TinyRun) -> None:
    for metric in ("inception_score", "sfd"):
        config = revised(tiny_run.config.evaluate, {"metrics": [metric], "extractor": "pixels"})
        with pytest.raises(ConfigError, match=f"{metric} needs another extractor: pixels has no"):
            EVALUATE.check(config, tiny_run.dataset)


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        ("bits_per_dim", "flows.metrics.likelihood_works.Inputs"),
        ("fd", "flows.metrics.features.open_extractor"),
    ],
)
def test_too_little_memory_is_one_line(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, metric: str, place: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(place, fail)
    config = revised(tiny_run.config.evaluate, {"metrics": [metric], "seed": 99})
    context = replace(tiny_run.context, force=True)
    with pytest.raises(ResourceError) as caught:
        evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, context)
    assert caught.value.exit_code == 7
    assert str(caught.value).startswith("evaluate: memory ran out (CUDA out of memory")
    assert "evaluate.batch_size" in caught.value.remedy
    assert "evaluate.workers" in caught.value.remedy


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        ("bits_per_dim", "flows.metrics.bound_units.bits_per_dim_by_variance"),
        ("fd", "flows.metrics.features.open_extractor"),
    ],
)
def test_figures_are_in_float32_in_a_process_that_had_tf32_on(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, metric: str, place: str
) -> None:
    seen: list[tuple[bool, bool]] = []
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    honest = pkgutil.resolve_name(place)

    def noting(*arguments: object, **more: object) -> object:
        seen.append((cudnn.allow_tf32, matmul.allow_tf32))
        return honest(*arguments, **more)

    monkeypatch.setattr(place, noting)
    config, context = revised(tiny_run.config.evaluate, {"metrics": [metric]}), replace(tiny_run.context, force=True)
    cudnn.allow_tf32 = matmul.allow_tf32 = True
    try:
        evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, context)
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
    assert set(seen) == {(False, False)}
