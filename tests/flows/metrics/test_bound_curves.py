"""The bound by timestep adds up to the bound."""

import json
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flows.artifacts import CURVES
from flows.metrics import bound_curves
from flows.metrics.bound_units import bound_terms
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from infra.compute.device import fixed_threads
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun

curves_of = bound_curves.bound_curves


def test_the_curves_add_up_to_the_figures_and_are_those_that_are_sealed(tiny_run: TinyRun) -> None:
    store, metrics = tiny_run.store, tiny_run.figures.metrics
    inputs = Inputs(
        settings=LikelihoodSettings(images=16, batch_size=16, seed=0, threads=1, device="cpu"),
        dataset=tiny_run.dataset.manifest(store),
        trained=tiny_run.snapshot.manifest(store),
        store=store,
    )
    columns = bound_terms(inputs, 0, 16)
    found = curves_of(lambda: [columns], 16)
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


def test_many_images_take_a_few_timesteps_at_a_time_and_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and in memory, as the formula says; then with room for fewer timesteps than there are."""
    timesteps, images = 333, 50
    random = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, dtype=torch.float64) * 10.0 ** -torch.arange(shape[-1])

    terms = drawn(images, timesteps)
    columns = {
        "prior_bpd": drawn(images),
        "x_start_mse": drawn(images, timesteps),
        "decoder_bpd_fixed_large": terms[:, 0],
        "terms_bpd_fixed_large": terms[:, 1:],
        "total_bpd_fixed_large": drawn(images),
    }
    held: list[int] = []

    def units() -> Iterator[dict[str, Tensor]]:
        for start in range(0, images, 8):
            yield {name: values[start : start + 8].clone() for name, values in columns.items()}

    def empty(*shape: int, **kind: Any) -> Tensor:
        held.append(prod(shape))
        return torch.zeros(*shape, **kind)

    with fixed_threads(1):
        monkeypatch.setattr(bound_curves.torch, "empty", empty)
        whole = curves_of(units, images)
        found = whole["variances"]["fixed_large"]
        assert found["step_bpd"] == terms.mean(0).tolist()
        assert found["step_bpd_stderr"] == (terms.std(0) / images**0.5).tolist()
        later = terms[:, 1:].mean(0).flip(0).cumsum(0).flip(0)
        assert found["rate"] == (columns["prior_bpd"].mean() + torch.cat((later, later.new_zeros(1)))).tolist()
        assert whole["rmse"] == (127.5 * columns["x_start_mse"].mean(0).sqrt()).tolist()
        assert max(held) == images * timesteps
        held.clear()
        monkeypatch.setattr(bound_curves, "_HELD", 130 * images)
        assert curves_of(units, images) == whole
        assert max(held) == 128 * images


@pytest.mark.parametrize("width", [1, 63, 64, 65, 127, 128, 129, 193])
def test_no_part_is_so_narrow_that_it_is_added_up_in_another_order(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(70, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    monkeypatch.setattr(bound_curves, "_HELD", 1)
    with fixed_threads(1):
        found = bound_curves._over_images(lambda: [{"x": part} for part in values.split(9)], 70, ["x"])
        assert found.means.equal(values.mean(0))
        assert found.errors.equal(values.std(0) / 70**0.5)
