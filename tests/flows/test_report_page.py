"""The page's newer parts: the way to the first images, rate and distortion, every variance there is."""

import re
from dataclasses import replace

import pytest
import torch

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion
from flows.pictures import sample_grid
from flows.report_page import render_page
from flows.summary import CURVES
from infra.checkpoint import decode_tensors
from infra.dataset import DatasetReader
from infra.manifest import read_verified


@pytest.fixture
def page(tiny_run: object) -> str:
    drawn, _ = DatasetReader(store=tiny_run.store, manifest=tiny_run.samples.manifest(tiny_run.store)).load("samples")
    return render_page("a-run", tiny_run.store, tiny_run.finished, drawn, sample_grid(drawn), {})


def test_rate_and_distortion_are_those_of_the_bound(tiny_run: object, page: str) -> None:
    manifest = tiny_run.report.manifest(tiny_run.store)
    parts = [
        decode_tensors(read_verified(tiny_run.store, manifest.folder, unit), "unit")[0]
        for unit in manifest.units
        if unit["facts"].get("kind") == "bound"
    ]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    names = {field: field for field in ("prior_bpd", "eps_mse", "x_start_mse")}
    names |= {field: f"{field}_fixed_large" for field in ("decoder_bpd", "total_bpd")}
    names["step_bpd"] = "terms_bpd_fixed_large"
    expected = rate_distortion(BitsPerDim(**{field: whole[name] for field, name in names.items()}))

    table = page[page.index("rate, fixed large") :]
    rows = re.findall(
        r'<tr><td class="figure">(\d+)</td><td class="figure">([\d.]+)</td><td class="figure">([\d.]+)', table
    )
    assert [int(t) for t, _, _ in rows][:2] == [20, 18]
    assert [int(t) for t, _, _ in rows][-1] == 1
    for t, rate, rmse in rows:
        assert float(rate) == pytest.approx(float(expected.rate[int(t) - 1]), abs=6e-5)
        assert float(rmse) == pytest.approx(float(expected.rmse[int(t) - 1]), abs=6e-3)
    # Nothing sent but x_T: the rate is L_T; all sent but the last step: the bound without its decoder.
    assert float(rows[0][1]) == pytest.approx(tiny_run.report.metrics["eval/prior_bpd"], abs=6e-5)
    bound = tiny_run.report.metrics["eval/bits_per_dim_fixed_large"]
    decoder = tiny_run.report.metrics["eval/decoder_bpd_fixed_large"]
    assert float(rows[-1][1]) == pytest.approx(bound - decoder, abs=6e-5)


def test_the_curves_are_sealed(tiny_run: object) -> None:
    manifest = tiny_run.report.manifest(tiny_run.store)
    assert [unit["facts"].get("kind") for unit in manifest.units][-2:] == ["metrics", CURVES]


def test_the_steps_of_the_strip_are_named(page: str) -> None:
    assert "of the chain's 5 steps those at t = 5, 4, 3, 2, 1." in page


def test_every_variance_there_is_has_its_line(tiny_run: object) -> None:
    metrics = tiny_run.report.metrics
    learned = {name.replace("fixed_small", "learned_range"): value for name, value in metrics.items()}
    report = replace(tiny_run.report, metrics=metrics | learned)
    assert report.variances == ["fixed_large", "fixed_small", "learned_range"]
