"""Figures of networks to compare: each with its direction and its own conditions."""

from dataclasses import replace

import pytest

from flows.artifacts import Figure, Figures
from flows.metrics import features, likelihood_works
from flows.metrics.choices import MetricName
from flows.metrics.conditions import model_figures, terms_of
from flows.metrics.likelihood_works import BOUND_VERSION, ESTIMATE_VERSION, FLOW_VERSION
from flows.metrics.table import METRICS
from flows.stages.evaluate.evaluation import evaluate
from infra.record import ModelFigure
from tests.conftest import TinyRun, revised


def measured(run: TinyRun, figures: Figures | None = None, **settings: object) -> dict[str, ModelFigure]:
    config = revised(run.config.evaluate, settings)
    sealed = figures or (
        evaluate(config, run.dataset, run.snapshot, run.samples, run.context) if settings else run.figures
    )
    found = model_figures(config.key_settings(), sealed, run.dataset, run.snapshot, run.samples, store=run.store)
    return {figure.name: figure for figure in found}


def test_every_headline_figure_has_a_direction(tiny_run: TinyRun) -> None:
    found = measured(tiny_run)
    assert set(found) == {figure.name for figure in tiny_run.figures.figures if figure.headline}
    assert {figure.higher_is_better for figure in found.values()} == {False}
    assert len(METRICS) == len(MetricName)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fid", False),
        ("kid_classifier", False),
        ("sfd_inception", False),
        ("recall_pixels", True),
        ("auth_pct_pixels", None),
        ("inception_score", True),
        ("fidelity", None),
    ],
)
def test_names_tell_the_direction(tiny_run: TinyRun, name: str, expected: bool | None) -> None:
    one = Figure(name=name, value=1.0, label="", note="", headline=True)
    found = measured(tiny_run, replace(tiny_run.figures, figures=(one,)))
    assert found[name].higher_is_better is expected


def test_each_kind_has_its_own_conditions(tiny_run: TinyRun) -> None:
    found = measured(tiny_run)
    data = tiny_run.dataset.digest
    assert found["fd_pixels"].conditions == {
        "data": data,
        "extractor": "pixels",
        "samples": "24",
        "rules of features": str(features.FORMAT_VERSION),
    }
    assert found["bits_per_dim_fixed_large"].conditions == {
        "data": data,
        "held-out images": "16",
        "labels": "not given",
        "rules of the bound": str(BOUND_VERSION),
    }


def test_settings_of_the_bound_are_conditions_of_the_bound_alone(tiny_run: TinyRun) -> None:
    estimate = {"likelihood": ["estimate"], "bpd_timesteps": 3}
    before = measured(tiny_run, **estimate)
    after = measured(tiny_run, **estimate | {"bpd_timesteps": 4, "batch_size": 16, "bpd_images": 8, "bpd_draws": 2})
    assert after["fd_pixels"].conditions == before["fd_pixels"].conditions
    changed = after["bits_per_dim_estimate_fixed_large"].conditions
    assert changed == before["bits_per_dim_estimate_fixed_large"].conditions | {
        "bpd_timesteps": "4",
        "held-out images": "8",
    }


def test_each_likelihood_has_the_rules_and_settings_of_its_own_kind(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures by new rules are unlike those by old ones; timesteps of an estimate leave the bound beside it alone."""
    both = {"likelihood": ["bound", "estimate"], "bpd_timesteps": 3}
    before, alone = measured(tiny_run, **both), measured(tiny_run)
    bound, estimate = "bits_per_dim_fixed_large", "bits_per_dim_estimate_fixed_large"
    assert before[bound].conditions == alone[bound].conditions
    assert before[estimate].conditions["rules of the estimate"] == str(ESTIMATE_VERSION)
    assert "rules of the bound" not in before[estimate].conditions
    monkeypatch.setattr(likelihood_works, "ESTIMATE_VERSION", ESTIMATE_VERSION + 1)
    after = measured(tiny_run, **both)
    assert after[bound].conditions == before[bound].conditions
    changed = {"rules of the estimate": str(ESTIMATE_VERSION + 1)}
    assert after[estimate].conditions == before[estimate].conditions | changed
    flow = measured(tiny_run, likelihood=["flow"], flow_steps=3)["bits_per_dim_flow"].conditions
    assert (flow["rules of the flow"], flow["flow_steps"]) == (str(FLOW_VERSION), "3")


def test_each_standard_error_says_how_many_terms_it_rests_on(tiny_run: TinyRun) -> None:
    metrics = ["bits_per_dim", "kid", "precision_recall", "density_coverage", "auth_pct", "fld_gap", "memorised"]
    config = revised(tiny_run.config.evaluate, {"metrics": metrics})
    figures = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    terms = {figure.name: figure.terms for figure in figures.figures if figure.standard_error is not None}
    training, held_out = tiny_run.dataset.train_images, tiny_run.dataset.test_images
    assert terms == {
        "bits_per_dim_fixed_large": 16,
        "bits_per_dim_fixed_small": 16,
        "kid_pixels": 12,  # blocks of 2 among 24 samples
        "precision_pixels": 24,
        "recall_pixels": training,
        "density_pixels": 24,
        "coverage_pixels": training,
        "auth_pct_pixels": 24,
        "fld_gap_pixels": held_out,
        "memorised_pixels": 24,
    }
    found = measured(tiny_run, figures)
    assert {name: found[name].terms for name in terms} == terms


@pytest.mark.parametrize(
    ("name", "terms"),
    [("fid_infinity", 20), ("sfd_inception", 20), ("kid", 12), ("inception_score", 10), ("is_classifier", 10),
     ("recall_pixels", None)],
)  # fmt: skip
def test_few_terms_of_figures_that_were_sealed_without_them(name: str, terms: int | None) -> None:
    sealed = Figure(name=name, value=1.0, standard_error=0.1, label="", note="")
    assert terms_of(sealed, {"kernel_blocks": 12}) == terms
    assert terms_of(replace(sealed, standard_error=None), {"kernel_blocks": 12}) is None
    assert terms_of(replace(sealed, terms=7), {"kernel_blocks": 12}) == 7


def test_features_of_other_weights_are_unlike(tiny_run: TinyRun) -> None:
    conditions = measured(tiny_run, extractor="classifier", metrics=["fd"])["fd_classifier"].conditions
    assert conditions["extractor"] == "classifier"
    weights = [path.parent.name for path in tiny_run.root.glob("classifier/*/manifests")]
    assert len(weights) == 1
    assert len(conditions["extractor's weights"]) == 64
    fewer = model_figures(
        {},
        tiny_run.figures,
        tiny_run.dataset,
        tiny_run.snapshot,
        replace(tiny_run.samples, count=8),
        store=tiny_run.store,
    )
    assert fewer[0].conditions["samples"] == "8"
