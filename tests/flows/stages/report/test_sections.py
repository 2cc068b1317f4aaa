"""The page shows the figures of the outputs: rate and distortion, the strip of predictions, every variance, escaped."""

import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion
from flows.artifacts import CURVES, number_text
from flows.cost import stage_cost
from flows.pages import palette
from flows.stages.report.nearest import NearestPairs
from flows.stages.report.outputs import RunOutputs, draw, read_outputs
from flows.stages.report.sections import render_page
from infra.errors import IntegrityError
from infra.outputs.costs import Attempt
from infra.outputs.manifest import parse_manifest, read_verified
from infra.outputs.tensors import decode_tensors
from tests.conftest import TinyRun

HOSTILE = '<b>&"x'
ESCAPED = "&lt;b&gt;&amp;&#34;x"


@pytest.fixture
def outputs(tiny_run: TinyRun) -> RunOutputs:
    return read_outputs(tiny_run.store, tiny_run.finished)


def rendered(outputs: RunOutputs, name: str = "a-run", **elsewhere: str) -> str:
    return render_page(name, outputs, draw(outputs), elsewhere)


@pytest.fixture
def page(outputs: RunOutputs) -> str:
    return rendered(outputs)


def picture(page: str, alt: str) -> np.ndarray:
    """A picture on the page, as RGB."""
    found = re.search(rf'alt="{re.escape(alt)}" src="data:image/png;base64,([^"]*)"', page)
    assert found is not None, alt
    return np.asarray(Image.open(BytesIO(base64.b64decode(found[1]))).convert("RGB"))


def test_rate_and_distortion_are_those_of_the_bound(tiny_run: TinyRun, page: str) -> None:
    name = f"{tiny_run.figures.manifest(tiny_run.store).facts['outputs']['bound']}/manifests/all.json"
    manifest = parse_manifest(tiny_run.store.read(name), item=name)
    parts = [
        decode_tensors(read_verified(tiny_run.store, manifest.folder, unit), "unit")[0]
        for unit in manifest.units
        if unit["file"].startswith("units/")
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
    assert float(rows[0][1]) == pytest.approx(tiny_run.figures.metrics["eval/prior_bpd"], abs=6e-5)
    bound = tiny_run.figures.metrics["eval/bits_per_dim_fixed_large"]
    decoder = tiny_run.figures.metrics["eval/decoder_bpd_fixed_large"]
    assert float(rows[-1][1]) == pytest.approx(bound - decoder, abs=6e-5)


def test_the_curves_are_sealed(tiny_run: TinyRun) -> None:
    manifest = tiny_run.figures.manifest(tiny_run.store)
    assert [unit["facts"].get("kind") for unit in manifest.units][-2:] == ["figures", CURVES]


def test_the_steps_of_the_strip_are_named(page: str) -> None:
    assert "The predicted clean image at t = 5, 4, 3, 2, 1, one row per sample (chain of 5 steps)." in page


def test_every_variance_there_is_has_its_line(outputs: RunOutputs) -> None:
    figures = outputs.finished.figures
    learned = [
        replace(
            figure,
            name=figure.name.replace("fixed_small", "learned_range"),
            label=figure.label.replace("fixed small", "learned range"),
            value=3 * figure.value,
        )
        for figure in figures.figures
        if "fixed_small" in figure.name
    ]
    figures = replace(figures, figures=(*figures.figures, *learned))
    curves = dict(outputs.curves)
    terms = [2 * term for term in curves["variances"]["fixed_small"]["step_bpd"]]
    curves["variances"] = curves["variances"] | {
        "learned_range": {"step_bpd": terms, "rate": [0.5 * rate for rate in range(20)]}
    }
    page = rendered(replace(outputs, finished=replace(outputs.finished, figures=figures), curves=curves))

    figure = figures.metrics["eval/bits_per_dim_learned_range"]
    error = figures.metrics["eval/bits_per_dim_learned_range_stderr"]
    bounds = re.findall(r'<tr><td>bits/dim, ([\w ]+)</td><td class="figure">([^<]*)</td>', page)
    assert [name for name, _ in bounds] == ["fixed large", "fixed small", "learned range"]
    assert bounds[2][1] == f"{number_text(figure, error)} ± {number_text(error, error)}"

    cells = r'<td class="figure">([\d.]+)</td>'
    rows = re.findall(rf"<tr><td>(fixed large|fixed small|learned range)</td>{cells * 3}</tr>", page)
    assert [row[0] for row in rows] == ["fixed large", "fixed small", "learned range"]
    parts = [figures.metrics[f"eval/{part}_bpd_learned_range"] for part in ("step", "decoder")]
    assert rows[2][2:] == tuple(f"{part:.3f}" for part in parts)

    for alt in ("bits/dim by timestep", "rate and distortion"):
        plot = picture(page, alt)
        for colour in palette.SERIES[:3]:
            ink = (plot == tuple(bytes.fromhex(colour[1:]))).all(2)
            # The sample of the line in the legend is 30 dots wide.
            assert np.ptp(np.nonzero(ink)[1]) > 40, f"{alt}: a line in {colour}"


def test_the_pictures_are_the_samples_their_neighbours_and_the_predictions(outputs: RunOutputs, page: str) -> None:
    # Tiles of 64 dots, 4 between them; the first samples in both.
    samples, neighbours, strip = (
        picture(page, alt) for alt in ("samples", "nearest training images", "predictions of the clean image")
    )
    for column in range(3):
        top = 4 + 68 * column
        assert np.array_equal(samples[4:68, top : top + 64], neighbours[top : top + 64, 4:68])
    assert neighbours.shape[:2] == (8 * 68 + 4, 8 * 68 + 4)
    assert strip.shape[1] == len(outputs.timesteps) * 68 + 4


def test_a_pair_is_a_sample_above_its_training_image(outputs: RunOutputs) -> None:
    images = np.stack([np.full_like(outputs.drawn[0], level) for level in (10, 90, 160, 240)])
    rows = [{"sample": 5, "training_image": 8, "distance": 12.34567, "ratio": 0.2}] * 2
    pairs = NearestPairs(samples=images[:2], training=images[2:], rows=rows, limit=0.2)
    page = rendered(replace(outputs, pairs=pairs))
    grid = picture(page, "samples nearest to training images")
    assert [grid[4 + 68 * row, 4 + 68 * column, 0] for row in range(2) for column in range(2)] == [10, 90, 160, 240]
    cells = [f'<td class="figure">{cell}</td>' for cell in ("5", "8", "12.35", "0.200")]
    assert page.count(f"<tr>{''.join(cells)}<td>yes</td></tr>") == 2


def test_names_from_outside_are_escaped(outputs: RunOutputs) -> None:
    manifests = dict(outputs.manifests)
    manifests["samples"] = replace(manifests["samples"], folder=f"folder {HOSTILE}", environment={HOSTILE: HOSTILE})
    page = rendered(replace(outputs, manifests=manifests), f"run {HOSTILE}", **{HOSTILE: f"http://x/{HOSTILE}"})
    best = page.count(f"run {ESCAPED}@best")  # none if a busy machine left no time to measure a point
    assert page.count(f"run {ESCAPED}") == 2 + best, "title, heading and the name of the best point"
    assert f"<code>folder {ESCAPED}</code>" in page
    assert f'<span class="quiet">{ESCAPED} {ESCAPED}</span>' in page
    assert f'<a href="http://x/{ESCAPED}">{ESCAPED}</a>' in page
    assert HOSTILE not in page
    assert "<b>" not in page


def test_two_links_are_one_sentence(outputs: RunOutputs) -> None:
    page = rendered(outputs, Prefect="http://a/1", MLflow="https://b/2")
    assert ' See this run in <a href="http://a/1">Prefect</a> and <a href="https://b/2">MLflow</a>.</p>' in page


def test_a_link_to_this_machine_says_what_shows_it(outputs: RunOutputs) -> None:
    page = rendered(outputs, Prefect="http://127.0.0.1:4200/runs/1", MLflow="https://b/2")
    assert "</a>, on the machine that ran it, while <code>ddpm up</code> works there.</p>" in page


def test_a_run_whose_history_is_empty_has_no_loss_curve(outputs: RunOutputs, page: str) -> None:
    assert "<h2>Training</h2>" in page
    snapshot = outputs.manifests["snapshot"]
    empty = replace(snapshot, facts=snapshot.facts | {"history": []})
    assert "<h2>Training</h2>" not in rendered(replace(outputs, manifests=outputs.manifests | {"snapshot": empty}))


def test_a_lost_output_is_named(tiny_run: TinyRun) -> None:
    tiny_run.store.delete(tiny_run.samples.name)
    with pytest.raises(IntegrityError, match="is missing") as caught:
        read_outputs(tiny_run.store, tiny_run.finished)
    assert caught.value.item == tiny_run.samples.name


def test_a_killed_attempt_makes_a_cost_a_bound(outputs: RunOutputs, page: str) -> None:
    assert "<h2>Cost</h2>" not in page, "none was recorded"
    attempt = Attempt(stage="train", output="train/ab", unit="images", done=640, wall_s=75.0, cpu_s=150.0)
    cost = stage_cost([attempt], "train/ab", {"images": 1280})
    assert cost is not None
    costly = render_page("a-run", outputs, draw(outputs), {}, [cost])
    assert "at least 1 min 15 s" in costly
    assert "An attempt was killed" in costly
    assert ">8.53 images/s<" in costly
