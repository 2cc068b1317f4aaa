"""Likelihoods by EMA length: paired with the run's own average, beside its own figures and never among them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from flows.artifacts import EMA_LENGTHS, Figures
from flows.metrics.choices import Likelihood
from flows.metrics.ema_lengths import LENGTHS
from flows.metrics.likelihood_rows import columns, per_image
from flows.metrics.likelihood_works import likelihood_work, proposal_work
from flows.metrics.metric import Subject
from flows.metrics.together import Work, seal_together
from flows.stages.evaluate.evaluation import evaluate
from infra.compute.units import Workers
from infra.errors import InputError
from infra.outputs.manifest import parse_manifest
from tests.conftest import TinyRun, revised
from tests.flows.metrics.subjects import measured, subject
from tests.flows.stored_averages import Walk, sealed_walk

SETTINGS = {"ema_lengths": [0.04, 0.1], "bpd_timesteps": 3, "bpd_images": 12}
VARIANCES = {"fixed_large", "fixed_small"}


def about(run: TinyRun, walk: Walk) -> Subject:
    return replace(subject(run, SETTINGS), trained=(walk.snapshot, run.dataset))


def table(run: TinyRun, walk: Walk, works: list[Work] | None = None) -> dict[str, Any]:
    found = measured(LENGTHS, about(run, walk), run.context, (works if works is not None else []).extend)
    return json.loads(found.files[EMA_LENGTHS])


def test_weights_that_never_moved_make_no_difference(tiny_run: TinyRun) -> None:
    """Every average is then the run's own, so equal noise and timesteps give equal bits for every image."""
    for row in table(tiny_run, sealed_walk(tiny_run, size=0.0))["lengths"]:
        for found in row["variances"].values():
            assert (found["difference"], found["difference_standard_error"]) == (0, 0)


def test_each_length_is_the_likelihood_of_its_rebuilt_network(tiny_run: TinyRun) -> None:
    """Against the estimate of that network under the run's proposal, computed as an output like any other."""
    walk, works = sealed_walk(tiny_run), []
    found = table(tiny_run, walk, works)
    assert [row["sigma_rel"] for row in found["lengths"]] == [0.04, 0.1]
    assert [row["relative_error"] == 0 for row in found["lengths"]] == [False, True]
    by_label = {work.label: work for work in works}
    assert list(by_label) == [
        "proposal",
        "rebuilt_0.04",
        "rebuilt_0.1",
        "estimate",
        "rebuilt_estimate_0.04",
        "rebuilt_estimate_0.1",
    ]

    def sealed(work: Work) -> Any:
        return seal_together([work], tiny_run.context, stage="evaluate", workers=lambda _: Workers())[0]

    own = columns(sealed(by_label["estimate"]), tiny_run.store)
    for row in found["lengths"]:
        assert set(row["variances"]) == VARIANCES
        other = columns(sealed(by_label[f"rebuilt_estimate_{row['sigma_rel']}"]), tiny_run.store)
        for variance, values in row["variances"].items():
            name = f"total_bpd_estimate_{variance}"
            moved = other[name] - own[name]
            assert values["value"] == pytest.approx(float(other[name].mean()))
            assert values["difference"] == pytest.approx(float(moved.mean()))
            assert values["difference_standard_error"] == pytest.approx(float(moved.std() / 12**0.5))
            assert float(moved.abs().max()) > 0


def test_timesteps_and_noise_are_those_of_the_runs_own_estimate(tiny_run: TinyRun) -> None:
    """The spread of the paired difference is far below that of the images."""
    for row in table(tiny_run, sealed_walk(tiny_run, size=0.01))["lengths"]:
        for found in row["variances"].values():
            assert 0 < found["difference_standard_error"] < 0.1 * found["standard_error"]


def test_the_runs_own_estimate_keeps_its_key(tiny_run: TinyRun) -> None:
    walk, works = sealed_walk(tiny_run), []
    table(tiny_run, walk, works)
    of = about(tiny_run, walk)
    (proposal,) = seal_together([proposal_work(of)], tiny_run.context, stage="evaluate", workers=lambda _: Workers())
    plan = likelihood_work(of, Likelihood.ESTIMATE, 0, proposal).plan
    assert set(plan.inputs) == {"dataset", "snapshot"}
    assert plan in [work.plan for work in works]


def evaluated(run: TinyRun, walk: Walk, **changes: Any) -> Figures:
    chosen = {"metrics": ["bits_per_dim", "ema_lengths"], "likelihood": ["estimate"], **SETTINGS, **changes}
    return evaluate(revised(run.config.evaluate, chosen), run.dataset, walk.snapshot, run.samples, run.context)


def test_the_figures_are_sealed_and_the_best_length_is_a_headline(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    figures = evaluated(tiny_run, walk)
    by_name = {figure.name: figure for figure in figures.figures}
    manifest = figures.manifest(tiny_run.store)
    (unit,) = [unit for unit in manifest.units if unit["facts"]["kind"] == EMA_LENGTHS]
    sealed = json.loads(tiny_run.store.read(f"{manifest.folder}/{unit['file']}"))
    own = {name: found["value"] for name, found in sealed["own"]["variances"].items()}
    least = min(own, key=own.__getitem__)
    best = min(sealed["lengths"], key=lambda row: row["variances"][least]["value"])
    assert (by_name["ema_length_best"].value, by_name["ema_length_best"].headline) == (best["sigma_rel"], True)
    for row in sealed["lengths"]:
        for variance, found in row["variances"].items():
            figure = by_name[f"ema_{row['sigma_rel']:g}_bits_per_dim_estimate_{variance}"]
            assert (figure.value, figure.standard_error) == (found["value"], found["standard_error"])
    assert own == {name: by_name[f"bits_per_dim_estimate_{name}"].value for name in VARIANCES}


def test_other_lengths_are_not_among_the_runs_own_images(tiny_run: TinyRun) -> None:
    """A comparison of runs pairs the images of the run's own network; a length is no draw of its noise."""
    figures = evaluated(tiny_run, sealed_walk(tiny_run))
    rows = per_image(figures.manifest(tiny_run.store), tiny_run.store)
    own = {figure.name: figure.value for figure in figures.figures}
    assert set(rows) == {f"bits_per_dim_estimate_{name}" for name in VARIANCES}
    assert all(float(values.mean()) == pytest.approx(own[name]) for name, values in rows.items())


def test_the_provenance_leads_to_the_training(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    manifest = evaluated(tiny_run, walk).manifest(tiny_run.store)
    (of_lengths,) = [part for part in manifest.facts["provenance"] if "ema_length_best" in part["figures"]]
    assert of_lengths["network"]["digest"] == walk.manifest.digest
    assert of_lengths["data"]["digest"] == tiny_run.dataset.digest
    outputs = {label for label in manifest.facts["outputs"] if label.startswith("rebuilt")}
    assert outputs == {"rebuilt_0.04", "rebuilt_0.1", "rebuilt_estimate_0.04", "rebuilt_estimate_0.1"}
    folder = manifest.facts["outputs"]["rebuilt_0.1"]
    name = f"{folder}/manifests/all.json"
    assert parse_manifest(tiny_run.store.read(name), item=name).plan["inputs"]["snapshot"] == walk.manifest.digest


def test_a_figure_says_which_averages_it_does_without(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    tiny_run.store.delete(f"{walk.manifest.folder}/{walk.manifest.facts['averages'][1]['file']}")
    of_lengths = [figure for figure in evaluated(tiny_run, walk).figures if figure.name.startswith("ema_")]
    assert len(of_lengths) == 5
    words = "rebuilt without the averages at 192 images, which are damaged"
    assert all(figure.note.endswith(f"; {words}") for figure in of_lengths)


def test_a_run_without_averages_is_refused_before_any_work(tiny_run: TinyRun) -> None:
    with pytest.raises(InputError, match="stored no averages"):
        evaluated(tiny_run, sealed_walk(tiny_run, averages=False))
    assert tiny_run.store.list("proposal") == []
