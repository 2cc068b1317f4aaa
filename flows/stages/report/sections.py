"""The page of a finished run: figures, pictures and where each number comes from."""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.artifacts import CURVES, Artifact, Checkpoint, Dataset, Report, Samples
from flows.page import image, page
from flows.pictures import curve, rate_distortion_curve, sample_grid
from infra.dataset import DatasetReader, Images
from infra.manifest import Manifest, read_verified
from infra.store import Store

_NEAREST_OF = 8
_NEAREST_COLUMNS = 8
_TABLE_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What the four stages of a run sealed."""

    dataset: Dataset
    checkpoint: Checkpoint
    samples: Samples
    report: Report


def render_page(
    name: str, store: Store, finished: FinishedRun, drawn: Images, grid: bytes, elsewhere: Mapping[str, str]
) -> str:
    """Render the page as HTML; everything that comes from outside is escaped.

    Args:
        name: The run's.
        store: Where the outputs are.
        finished: The outputs.
        drawn: The first samples.
        grid: Their picture.
        elsewhere: The run's pages in other programs, by the program's name.
    """
    dataset, checkpoint, samples, report = finished.dataset, finished.checkpoint, finished.samples, finished.report
    curves = _curves(store, report.manifest(store))
    trained = checkpoint.manifest(store)
    training = DatasetReader(store=store, manifest=dataset.manifest(store))
    sections = [
        f"<h1>{html.escape(name)}</h1>",
        f'<p class="quiet">{checkpoint.images_seen:,} images seen in training on {dataset.train_images:,} images of '
        f"{dataset.image_size}×{dataset.image_size}×{dataset.channels}, {dataset.levels} different pixel values"
        f"{_links(elsewhere)}</p>",
        _headline(dataset, samples, report, labelled=trained.facts["settings"]["class_conditional"]),
        f"<h2>Samples</h2><p>The first {len(drawn)} of {samples.count:,}.</p>{image(grid, 'samples', pixels=True)}",
        "<h2>Nearest training images</h2><p>Left, samples; beside each, the training images nearest to it by the "
        "distance of their pixels. Copies of the training data would show here.</p>"
        + image(_nearest(drawn[:_NEAREST_OF], training), "nearest training images", pixels=True),
        _progress(store, samples),
        _loss(trained.facts["history"], trained.facts["settings"]["loss"]),
        _bound_by_timestep(curves, report),
        _rate_distortion(curves, report),
        _provenance(store, finished),
    ]
    return page(name, sections)


def _links(elsewhere: Mapping[str, str]) -> str:
    pages = [
        f'<a href="{html.escape(address)}">{html.escape(name)}</a>'
        for name, address in elsewhere.items()
        if address.startswith(("http://", "https://"))
    ]
    return f". This run in {' and '.join(pages)}" if pages else ""


def _headline(dataset: Dataset, samples: Samples, report: Report, *, labelled: bool) -> str:
    metrics = report.metrics
    rows = [
        (
            report.extractor,
            f"{metrics[f'eval/{report.extractor}']:.3f}",
            f"Fréchet distance, {samples.count:,} samples to the {dataset.train_images:,} training images; features: "
            f"{report.extractor}. Not an FID: that name stands for Inception features.",
        )
    ]
    kind = "Unbiased estimate of an upper bound" if report.bound_timesteps else "Upper bound"
    given = ", given their labels," if labelled else ""
    for variance in report.variances:
        figure = metrics[f"eval/bits_per_dim_{variance}"]
        error = metrics[f"eval/bits_per_dim_{variance}_stderr"]
        rows.append(
            (
                f"bits/dim, {_words(variance)}",
                f"{figure:.3f} ± {error:.3f}",
                f"{kind} on the negative log-likelihood of {report.counts['bpd_images']:,} held-out images{given} on "
                f"256 levels, of which the data uses {dataset.levels}; ± one standard error over images.",
            )
        )
    cells = "".join(
        f'<tr><td>{html.escape(label)}</td><td class="figure">{figure}</td>'
        f'<td class="quiet">{html.escape(note)}</td></tr>'
        for label, figure, note in rows
    )
    return f'<h2>Figures</h2><table class="headline">{cells}</table>'


def _loss(history: list[dict[str, Any]], loss: str) -> str:
    rows = [row for row in history if row["loss"] is not None]
    if not rows:
        return ""
    label = "L_simple" if loss == "simple" else f"the {loss} loss"
    picture = curve(
        [row["images_seen"] for row in rows],
        {label: [row["loss"] for row in rows]},
        x_label="images seen",
        y_label=label,
        log_y=True,
    )
    return f"<h2>Training</h2><p>{label}, averaged between rows.</p>{image(picture, 'loss curve')}"


def _bound_by_timestep(curves: dict[str, Any] | None, report: Report) -> str:
    picture = ""
    if curves is not None:
        lines = {_words(name): curves["variances"][name]["step_bpd"] for name in report.variances}
        timesteps = list(range(1, len(curves["rmse"]) + 1))
        drawn = curve(timesteps, lines, x_label="t", y_label="bits/dim of the step", log_y=True)
        picture = image(drawn, "bits/dim by timestep")
    metrics = report.metrics
    rows = "".join(
        f"<tr><td>{_words(name)}</td>"
        f'<td class="figure">{metrics["eval/prior_bpd"]:.6f}</td>'
        f'<td class="figure">{metrics[f"eval/step_bpd_{name}"]:.3f}</td>'
        f'<td class="figure">{metrics[f"eval/decoder_bpd_{name}"]:.3f}</td></tr>'
        for name in report.variances
    )
    table = (
        "<table><tr><th>variance</th><th>prior L<sub>T</sub></th><th>steps, t &gt; 1</th>"
        f"<th>decoder, t = 1</th></tr>{rows}</table>"
    )
    return (
        "<h2>Where the bits go</h2><p>Terms of the bound in bits/dim, means over the held-out images.</p>"
        + table
        + picture
    )


def _rate_distortion(curves: dict[str, Any] | None, report: Report) -> str:
    if curves is None:
        return ""
    lines = {_words(name): (curves["variances"][name]["rate"], curves["rmse"]) for name in report.variances}
    picture = rate_distortion_curve(lines)
    name = report.variances[0]
    rate, rmse = curves["variances"][name]["rate"], curves["rmse"]
    places = sorted({round(share * (len(rate) - 1)) for share in _TABLE_SHARES}, reverse=True)
    rows = "".join(
        "".join(("<tr>", *(f'<td class="figure">{cell}</td>' for cell in cells), "</tr>"))
        for cells in ((t + 1, f"{rate[t]:.4f}", f"{rmse[t]:.2f}") for t in places)
    )
    return (
        "<h2>Rate and distortion</h2><p>Bits/dim that tell a receiver x<sub>t</sub>, and the root mean squared error "
        "of the image that the network predicts from it, on the scale 0–255 (Ho et al. 2020, section 4.3).</p>"
        + image(picture, "rate and distortion")
        + f"<table><tr><th>t</th><th>rate, {_words(name)}</th><th>RMSE</th></tr>{rows}</table>"
    )


def _curves(store: Store, evaluated: Manifest) -> dict[str, Any] | None:
    """The curves by timestep, where the bound was summed over all of them."""
    curves: dict[str, Any] | None = None
    for unit in evaluated.units:
        if unit["facts"].get("kind") == CURVES:
            curves = json.loads(read_verified(store, evaluated.folder, unit))
    return curves


def _progress(store: Store, samples: Samples) -> str:
    manifest = samples.manifest(store)
    frames, _ = DatasetReader(store=store, manifest=manifest).load("progress")
    facts = next(unit["facts"] for unit in manifest.units if unit["facts"]["split"] == "progress")
    timesteps = facts["timesteps"]
    frames = frames[: samples.count * len(timesteps)]
    told = ", ".join(str(t + 1) for t in timesteps)
    return (
        "<h2>How images come about</h2><p>What the network takes the clean image for on the way, first samples from "
        f"top to bottom; of the chain's {timesteps[0] + 1} steps those at t = {told}.</p>"
        + image(sample_grid(frames, columns=len(timesteps)), "predictions of the clean image", pixels=True)
    )


def _provenance(store: Store, finished: FinishedRun) -> str:
    rows = ""
    labelled: list[tuple[str, Artifact]] = [
        ("data set", finished.dataset),
        ("snapshot", finished.checkpoint),
        ("samples", finished.samples),
        ("figures", finished.report),
    ]
    for label, artifact in labelled:
        manifest = artifact.manifest(store)
        environment = ", ".join(f"{name} {value}" for name, value in sorted(manifest.environment.items()))
        rows += (
            f"<tr><td>{label}</td><td><code>{artifact.digest}</code><br><code>{html.escape(manifest.folder)}</code><br>"
            f'<span class="quiet">{html.escape(environment)}</span><br>'
            f"<details><summary>settings</summary><code>{html.escape(json.dumps(manifest.facts['settings']))}</code>"
            "</details></td></tr>"
        )
    return (
        "<h2>Where every number comes from</h2><p>Each output with its digest, its folder below the root, what "
        f"computed it and the settings it is a function of.</p><table>{rows}</table>"
    )


def _nearest(drawn: Images, training: DatasetReader) -> bytes:
    """Each image beside those nearest to it; the data set passes by file by file."""
    queries = drawn.reshape(len(drawn), -1).astype(np.float32)
    columns = _NEAREST_COLUMNS - 1
    distances = np.empty((len(drawn), 0), dtype=np.float32)
    images = np.empty((len(drawn), 0, *drawn.shape[1:]), dtype=np.uint8)
    for unit in training.units("train"):
        found, _ = training.load_unit(unit)
        known = found.reshape(len(found), -1).astype(np.float32)
        squared = (queries**2).sum(1)[:, None] - 2 * queries @ known.T + (known**2).sum(1)
        together = np.concatenate((distances, squared), axis=1)
        order = np.argsort(together, axis=1, kind="stable")[:, :columns]
        rows = np.broadcast_to(np.arange(len(drawn))[:, None], order.shape)
        chosen, new = np.empty((*order.shape, *drawn.shape[1:]), dtype=np.uint8), order >= distances.shape[1]
        chosen[new] = found[order[new] - distances.shape[1]]
        chosen[~new] = images[rows[~new], order[~new]]
        distances, images = together[rows, order], chosen
    return sample_grid(np.concatenate((drawn[:, None], images), axis=1).reshape(-1, *drawn.shape[1:]), _NEAREST_COLUMNS)


def _words(variance: str) -> str:
    return variance.replace("_", " ")
