"""The bound by timestep adds up to the bound."""

import json

import numpy as np
import pytest

from flows.artifacts import CURVES
from flows.metrics.bound_curves import bound_curves
from flows.metrics.bound_units import bound_terms
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun


def test_the_curves_add_up_to_the_figures_and_are_those_that_are_sealed(tiny_run: TinyRun) -> None:
    store, metrics = tiny_run.store, tiny_run.figures.metrics
    inputs = Inputs(
        settings=LikelihoodSettings(images=16, batch_size=16, seed=0, threads=1, device="cpu"),
        dataset=tiny_run.dataset.manifest(store),
        trained=tiny_run.snapshot.manifest(store),
        store=store,
    )
    columns = bound_terms(inputs, 0, 16)
    found = bound_curves(columns)
    for variance in ("fixed_large", "fixed_small"):
        terms = found["variances"][variance]["step_bpd"]
        assert len(terms) == 20
        total = sum(terms) + metrics["eval/prior_bpd"]
        assert total == pytest.approx(metrics[f"eval/bits_per_dim_{variance}"], rel=1e-5)
        decoder, steps = (columns[f"{term}_bpd_{variance}"].double().numpy() for term in ("decoder", "terms"))
        errors = np.sqrt(np.var(np.concatenate((decoder[:, None], steps), axis=1), axis=0, ddof=1) / 16)
        assert found["variances"][variance]["step_bpd_stderr"] == pytest.approx(errors.tolist(), rel=1e-5)
    manifest = tiny_run.figures.manifest(store)
    (unit,) = (unit for unit in manifest.units if unit["facts"].get("kind") == CURVES)
    sealed = json.loads(read_verified(store, manifest.folder, unit))
    assert sealed["rmse"] == pytest.approx(found["rmse"], rel=1e-5)
