"""report.html and its pictures, made from sealed artifacts alone; a page that needs no other file."""

import base64
import html
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ddpm_core.diffusion import FIXED_VARIANCES, Variance
from flows.artifacts import Artifact, Checkpoint, Dataset, Report, Samples
from flows.pictures import curve, sample_grid
from infra.checkpoint import decode_tensors
from infra.dataset import DatasetReader, Images
from infra.errors import InputError, IntegrityError
from infra.plan import Manifest, read_verified
from infra.store import Store

FOLDER = "reports"
_GRID_IMAGES = 64
_NEAREST_OF = 8
_NEAREST_COLUMNS = 8
_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 880px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p { margin: .3rem 0 .8rem } .quiet { color: #57606a; font-size: .9rem }
img { max-width: 100%; height: auto } .pixels { image-rendering: pixelated; width: 420px }
table { border-collapse: collapse; font-size: .95rem } th { text-align: left; font-weight: 600 }
td, th { padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #e4e8ec; vertical-align: top }
td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
code { font-size: .85em; overflow-wrap: anywhere } .headline td { font-size: 1.15rem }
"""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What the four stages of a run sealed."""

    dataset: Dataset
    checkpoint: Checkpoint
    samples: Samples
    report: Report


def write_report(name: str, store: Store, finished: FinishedRun) -> str:
    """Write report.html, samples.png and run.json below reports/<name>; return that folder."""
    folder = f"{FOLDER}/{name}"
    drawn, _ = DatasetReader(store=store, manifest=finished.samples.manifest(store)).load(limit=_GRID_IMAGES)
    grid = sample_grid(drawn)
    run = {kind: record | {"reused": True} for kind, record in asdict(finished).items()}
    page = _page(name, store, finished, drawn, grid)
    files = {"samples.png": grid, "report.html": page.encode(), "run.json": json.dumps(run, indent=2).encode()}
    for file, data in files.items():
        store.delete(f"{folder}/{file}")
        store.put_if_absent(f"{folder}/{file}", data)
    return folder


def rewrite_report(name: str, store: Store) -> str:
    """Build a finished run's report again from what it sealed; return its folder.

    Raises:
        InputError: If there is no finished run of that name.
    """
    path = f"{FOLDER}/{name}/run.json"
    try:
        run: dict[str, Any] = json.loads(store.read(path))
    except FileNotFoundError as error:
        known = sorted({entry.split("/")[1] for entry in store.list(FOLDER)})
        remedy = f"known are {', '.join(known)}" if known else "`ddpm run` makes one"
        raise InputError(f"no finished run of that name below {store.uri}", item=name, remedy=remedy) from error
    except ValueError as error:
        raise IntegrityError("is not a run's record", item=path, remedy="run the pipeline again") from error
    try:
        run["dataset"]["class_names"] = tuple(run["dataset"]["class_names"])
        finished = FinishedRun(
            dataset=Dataset(**run["dataset"]),
            checkpoint=Checkpoint(**run["checkpoint"]),
            samples=Samples(**run["samples"]),
            report=Report(**run["report"]),
        )
    except (KeyError, TypeError) as error:
        raise IntegrityError("is not a run's record", item=path, remedy="run the pipeline again") from error
    return write_report(name, store, finished)


def _page(name: str, store: Store, finished: FinishedRun, drawn: Images, grid: bytes) -> str:
    dataset, checkpoint, samples, report = finished.dataset, finished.checkpoint, finished.samples, finished.report
    evaluated = report.manifest(store)
    trained = checkpoint.manifest(store)
    training, _ = DatasetReader(store=store, manifest=dataset.manifest(store)).load("train")
    sections = [
        f"<h1>{html.escape(name)}</h1>",
        f'<p class="quiet">{checkpoint.images_seen:,} images seen in training on {dataset.train_images:,} images of '
        f"{dataset.image_size}×{dataset.image_size}×{dataset.channels}, {dataset.levels} different pixel values</p>",
        _headline(dataset, samples, report),
        f"<h2>Samples</h2><p>The first {len(drawn)} of {samples.count:,}.</p>{_image(grid, 'samples', pixels=True)}",
        "<h2>Nearest training images</h2><p>Left, samples; beside each, the training images nearest to it by the "
        "distance of their pixels. Copies of the training data would show here.</p>"
        + _image(_nearest(drawn[:_NEAREST_OF], training), "nearest training images", pixels=True),
        _loss(trained.facts["history"]),
        _bound_by_timestep(store, evaluated),
        _provenance(store, finished),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_CSS}</style></head>'
        f"<body>{''.join(sections)}</body></html>"
    )


def _headline(dataset: Dataset, samples: Samples, report: Report) -> str:
    metrics = report.metrics
    rows = [
        (
            report.extractor,
            f"{metrics[f'eval/{report.extractor}']:.3f}",
            f"Fréchet distance, {samples.count:,} samples to the {dataset.train_images:,} training images; features: "
            f"{report.extractor}. Not an FID: that name stands for Inception features.",
        )
    ]
    for variance in FIXED_VARIANCES:
        figure = metrics[f"eval/bits_per_dim_{variance.value}"]
        error = metrics[f"eval/bits_per_dim_{variance.value}_stderr"]
        rows.append(
            (
                f"bits/dim, {_words(variance)}",
                f"{figure:.3f} ± {error:.3f}",
                f"Upper bound on the negative log-likelihood of {metrics['eval/bpd_images']:.0f} held-out images on "
                f"256 levels, of which the data uses {dataset.levels}; ± one standard error over images.",
            )
        )
    cells = "".join(
        f'<tr><td>{html.escape(label)}</td><td class="figure">{figure}</td>'
        f'<td class="quiet">{html.escape(note)}</td></tr>'
        for label, figure, note in rows
    )
    return f'<h2>Figures</h2><table class="headline">{cells}</table>'


def _loss(history: list[dict[str, Any]]) -> str:
    rows = [row for row in history if row["loss"] is not None]
    if not rows:
        return ""
    picture = curve(
        [row["images_seen"] for row in rows],
        {"L_simple": [row["loss"] for row in rows]},
        x_label="images seen",
        y_label="L_simple (mean squared error of ε)",
        log_y=True,
    )
    return f"<h2>Training</h2><p>L_simple, averaged between rows.</p>{_image(picture, 'loss curve')}"


def _bound_by_timestep(store: Store, evaluated: Manifest) -> str:
    bound = [
        decode_tensors(read_verified(store, evaluated.folder, unit), unit["file"])[0]
        for unit in evaluated.units
        if unit["facts"].get("kind") == "bound"
    ]
    lines = {
        _words(variance): torch.cat([unit[f"step_bpd_{variance.value}"] for unit in bound]).mean(0).tolist()
        for variance in FIXED_VARIANCES
    }
    picture = curve(
        list(range(1, len(next(iter(lines.values()))) + 1)),
        lines,
        x_label="t",
        y_label="bits/dim of the step",
        log_y=True,
    )
    metrics = evaluated.facts["metrics"]
    rows = "".join(
        f"<tr><td>{_words(variance)}</td>"
        f'<td class="figure">{metrics["eval/prior_bpd"]:.6f}</td>'
        f'<td class="figure">{metrics[f"eval/step_bpd_{variance.value}"]:.3f}</td>'
        f'<td class="figure">{metrics[f"eval/decoder_bpd_{variance.value}"]:.3f}</td></tr>'
        for variance in FIXED_VARIANCES
    )
    table = (
        "<table><tr><th>variance</th><th>prior L<sub>T</sub></th><th>steps, t ≥ 1</th>"
        f"<th>decoder, t = 0</th></tr>{rows}</table>"
    )
    return (
        "<h2>Where the bits go</h2><p>Terms of the bound in bits/dim, means over the held-out images.</p>"
        + table
        + _image(picture, "bits/dim by timestep")
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
            f"<details><summary>settings</summary><code>{html.escape(json.dumps(manifest.plan['settings']))}</code>"
            "</details></td></tr>"
        )
    return (
        "<h2>Where every number comes from</h2><p>Each output with its digest, its folder below the root, what "
        f"computed it and the settings it is a function of.</p><table>{rows}</table>"
    )


def _nearest(drawn: Images, training: Images) -> bytes:
    queries = drawn.reshape(len(drawn), -1).astype(np.float32)
    known = training.reshape(len(training), -1).astype(np.float32)
    squared = (queries**2).sum(1)[:, None] - 2 * queries @ known.T + (known**2).sum(1)
    order = np.argsort(squared, axis=1, kind="stable")[:, : _NEAREST_COLUMNS - 1]
    rows = [np.concatenate((drawn[i : i + 1], training[order[i]])) for i in range(len(drawn))]
    return sample_grid(np.concatenate(rows), columns=rows[0].shape[0])


def _image(data: bytes, alt: str, *, pixels: bool = False) -> str:
    kind = ' class="pixels"' if pixels else ""
    return f'<p><img{kind} alt="{alt}" src="data:image/png;base64,{base64.b64encode(data).decode()}"></p>'


def _words(variance: Variance) -> str:
    return variance.value.replace("_", " ")
