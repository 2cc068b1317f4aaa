"""The page of a finished run: figures, pictures and the provenance of each number."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flows.artifacts import Figures, figure_text
from flows.pages.page import render
from flows.pages.pictures import curve, rate_distortion_curve, sample_grid
from flows.stages.report.outputs import RunOutputs
from infra.outputs.manifest import Manifest

_TABLE_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
_WEB = ("http://", "https://")


def render_page(name: str, outputs: RunOutputs, grid: bytes, elsewhere: Mapping[str, str]) -> str:
    """Render the page as HTML that needs no other file.

    Args:
        name: The run's name.
        outputs: The run's outputs.
        grid: The picture of the first samples, as PNG bytes.
        elsewhere: The run's pages in other programs, by the program's name.
    """
    finished, trained = outputs.finished, outputs.manifests["snapshot"]
    dataset, samples = finished.dataset, finished.samples
    return render(
        "report.html",
        name=name,
        run={
            "images_seen": f"{finished.snapshot.images_seen:,}",
            "train_images": f"{dataset.train_images:,}",
            "shape": f"{dataset.image_size}×{dataset.image_size}×{dataset.channels}",
            "levels": dataset.levels,
        },
        links=_links(elsewhere),
        figures=[
            {"label": figure.label, "value": figure_text(figure), "note": figure.note}
            for figure in finished.figures.figures
            if figure.headline
        ],
        samples={"shown": len(outputs.drawn), "total": f"{samples.count:,}", "grid": grid},
        nearest=sample_grid(outputs.nearest.reshape(-1, *outputs.nearest.shape[2:]), outputs.nearest.shape[1]),
        denoising={
            "timesteps": [t + 1 for t in outputs.timesteps],
            "steps": outputs.timesteps[0] + 1,
            "strip": sample_grid(outputs.progress, columns=len(outputs.timesteps)),
        },
        loss=_loss(trained.facts["history"], trained.facts["settings"]["loss"]),
        terms=_terms(finished.figures),
        curves=_curves(outputs.curves, list(finished.figures.starting_with("step_bpd_"))),
        outputs=_provenance(outputs.manifests),
    )


def _links(elsewhere: Mapping[str, str]) -> list[dict[str, str]]:
    # Only web addresses, because a browser would run a link that begins with "javascript:".
    web = {program: address for program, address in elsewhere.items() if address.startswith(_WEB)}
    return [{"program": program, "address": address} for program, address in web.items()]


def _loss(history: Sequence[Mapping[str, Any]], loss: str) -> dict[str, Any] | None:
    rows = [row for row in history if row["loss"] is not None]
    if not rows:
        return None
    label = "L_simple" if loss == "simple" else f"the {loss} loss"
    images_seen, losses = [row["images_seen"] for row in rows], [row["loss"] for row in rows]
    picture = curve(images_seen, {label: losses}, x_label="images seen", y_label=label, log_y=True)
    return {"label": label[0].upper() + label[1:], "curve": picture}


def _terms(figures: Figures) -> list[dict[str, str]]:
    steps, decoders = figures.starting_with("step_bpd_"), figures.starting_with("decoder_bpd_")
    return [
        {
            "variance": _words(name),
            "prior": f"{figures.starting_with('prior_bpd')[''].value:.6f}",
            "steps": f"{steps[name].value:.3f}",
            "decoder": f"{decoders[name].value:.3f}",
        }
        for name in steps
    ]


def _curves(curves: Mapping[str, Any] | None, variances: Sequence[str]) -> dict[str, Any] | None:
    if curves is None:
        return None
    known = curves["variances"]
    rmse, by_name = curves["rmse"], {_words(name): known[name] for name in variances if name in known}
    terms = {name: of_name["step_bpd"] for name, of_name in by_name.items()}
    first, rate = next((name, of_name["rate"]) for name, of_name in by_name.items())
    places = sorted({round(share * (len(rate) - 1)) for share in _TABLE_SHARES}, reverse=True)
    return {
        "terms": curve(range(1, len(rmse) + 1), terms, x_label="t", y_label="bits/dim of the step", log_y=True),
        "rate_distortion": rate_distortion_curve({name: (by_name[name]["rate"], rmse) for name in by_name}),
        "variance": first,
        "rows": [{"t": t + 1, "rate": f"{rate[t]:.4f}", "rmse": f"{rmse[t]:.2f}"} for t in places],
    }


def _provenance(manifests: Mapping[str, Manifest]) -> list[dict[str, str]]:
    return [
        {
            "label": label,
            "digest": manifest.digest,
            "folder": manifest.folder,
            "environment": ", ".join(f"{name} {value}" for name, value in sorted(manifest.environment.items())),
            "settings": json.dumps(manifest.facts["settings"]),
        }
        for label, manifest in manifests.items()
    ]


def _words(variance: str) -> str:
    return variance.replace("_", " ")
