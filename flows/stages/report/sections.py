"""The page of a finished run: figures, pictures and the provenance of each number."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from flows.artifacts import Figures, figure_text
from flows.cost import StageCost, cost_table
from flows.pages.page import render
from flows.provenance import Provenance
from flows.stages.report.ema_lengths import length_rows
from flows.stages.report.nearest import NearestPairs
from flows.stages.report.neighbours import LIMIT, Neighbours
from flows.stages.report.outputs import Drawings, RunOutputs, curves_by_variance, loss_label, variance_words
from flows.stages.report.training import ALONG_PLOTS, Along
from infra.outputs.environments import Period, periods_of
from infra.outputs.manifest import Manifest

_TABLE_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_WEB = ("http://", "https://")
_NAMED = 3


def render_page(
    name: str, outputs: RunOutputs, drawings: Drawings, elsewhere: Mapping[str, str], costs: Sequence[StageCost] = ()
) -> str:
    """Render the page as HTML that needs no other file.

    Args:
        name: The run's name.
        outputs: The run's outputs.
        drawings: Its pictures.
        elsewhere: The run's pages in other programs, by the program's name.
        costs: The cost of each stage, as far as it is recorded.
    """
    finished, trained = outputs.finished, outputs.manifests["snapshot"]
    dataset, samples = finished.dataset, finished.samples
    return render(
        "report.html",
        name=name,
        run={
            "images_seen": f"{finished.snapshot.images_seen:,}",
            "train_images": f"{dataset.train_images:,}",
            "shape": "×".join(map(str, (*dataset.image_shape[1:], dataset.channels))),
            "levels": dataset.levels,
        },
        links=_links(elsewhere),
        figures=[
            {"label": figure.label, "value": figure_text(figure), "note": figure.note}
            for figure in finished.figures.figures
            if figure.headline
        ],
        left_out=finished.figures.left_out,
        samples={"shown": len(outputs.drawn), "total": f"{samples.count:,}", "grid": drawings.samples},
        nearest=drawings.nearest,
        alike=_alike(outputs.pairs, drawings),
        denoising={
            "timesteps": [t + 1 for t in outputs.timesteps],
            "steps": outputs.timesteps[0] + 1,
            "strip": drawings.denoising,
        },
        plots=drawings.plots,
        along=_along(name, outputs.along, drawings),
        loss=_capital(loss_label(trained.facts["settings"]["loss"])),
        terms=_terms(finished.figures),
        rates=_rates(outputs),
        banded=_has_bands(outputs),
        lengths=None if outputs.lengths is None else length_rows(outputs.lengths),
        others=_others(outputs.neighbours, drawings),
        provenance=_figures_provenance(outputs.provenance),
        outputs=_outputs(outputs.manifests),
        cost=cost_table(costs),
    )


def _links(elsewhere: Mapping[str, str]) -> list[dict[str, Any]]:
    # Only web addresses, because a browser would run a link that begins with "javascript:".
    web = {program: address for program, address in elsewhere.items() if address.startswith(_WEB)}
    return [
        {"program": program, "address": address, "is_local": urlsplit(address).hostname in _THIS_MACHINE}
        for program, address in web.items()
    ]


def _along(name: str, along: Along | None, drawings: Drawings) -> dict[str, Any] | None:
    """Return the section about the points of training; None if the page has nothing to show there."""
    plots = [plot for plot in ALONG_PLOTS if plot in drawings.plots]
    if along is None or not (along.points or along.warnings or plots):
        return None
    figures = along.points[-1].figures if along.points else None
    best = along.best
    return {
        "warnings": along.warnings,
        "remark": along.remark,
        "strip": drawings.along,
        "shown": [f"{place:,}" for place in along.shown],
        "plots": plots,
        "images": f"{figures.images:,}" if figures else "",
        "held_out": figures is not None and figures.held_out,
        "timesteps": [t + 1 for t in figures.timesteps] if figures else [],
        "samples": next(
            (f"{one.figures.samples:,}" for one in along.points if one.figures and one.figures.samples), ""
        ),
        "best": {"images": f"{best.images_seen:,}", "name": f"{name}@best"} if best else None,
    }


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _terms(figures: Figures) -> list[dict[str, str]]:
    steps, decoders = figures.starting_with("step_bpd_"), figures.starting_with("decoder_bpd_")
    return [
        {
            "variance": variance_words(name),
            "prior": f"{figures.starting_with('prior_bpd')[''].value:.6f}",
            "steps": f"{steps[name].value:.3f}",
            "decoder": f"{decoders[name].value:.3f}",
        }
        for name in steps
    ]


def _alike(pairs: NearestPairs | None, drawings: Drawings) -> dict[str, Any] | None:
    """Return the pictures and numbers of the samples most like training images; None without the metric."""
    if pairs is None:
        return None
    rows = [
        {
            "sample": row["sample"],
            "training_image": row["training_image"],
            "distance": f"{row['distance']:.4g}",
            "ratio": f"{row['ratio']:.3f}",
            "counts": row["ratio"] <= pairs.limit,
        }
        for row in pairs.rows
    ]
    return {"grid": drawings.pairs, "rows": rows, "limit": f"{pairs.limit:.3f}"}


def _has_bands(outputs: RunOutputs) -> bool:
    return outputs.curves is not None and any("step_bpd_stderr" in one for one in curves_by_variance(outputs).values())


def _rates(outputs: RunOutputs) -> dict[str, Any] | None:
    """Return rows of rate and distortion at some timesteps, for the first variance; None for an estimate."""
    if outputs.curves is None:
        return None
    rmse = outputs.curves["rmse"]
    variance, rate = next((name, of_name["rate"]) for name, of_name in curves_by_variance(outputs).items())
    places = sorted({round(share * (len(rate) - 1)) for share in _TABLE_SHARES}, reverse=True)
    rows = [{"t": t + 1, "rate": f"{rate[t]:.4f}", "rmse": f"{rmse[t]:.2f}"} for t in places]
    return {"variance": variance, "rows": rows}


def _others(neighbours: Neighbours | None, drawings: Drawings) -> dict[str, Any] | None:
    """Return the plots against other runs, and a remark about the runs that they leave out; None without either."""
    remarks = []
    if neighbours is not None and neighbours.unread:
        remarks.append(f"Of the other runs below this root only {LIMIT} were read, those with the most similar names.")
    if neighbours is not None and neighbours.damaged:
        remarks.append(f"Left out, since their records or outputs are damaged: {', '.join(neighbours.damaged)}.")
    return {"plots": drawings.compared, "remarks": remarks} if drawings.compared or remarks else None


def _figures_provenance(sealed: Sequence[Provenance]) -> list[dict[str, Any]]:
    parts = []
    for provenance in sealed:
        more = len(provenance.figures) - _NAMED
        names = ", ".join(provenance.figures[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        parts.append({"figures": names, "single": len(provenance.figures) == 1, "rows": provenance.rows()})
    return parts


def _environment(period: Period) -> str:
    after = " and ".join(f"{amount:,} {unit}" for unit, amount in period.after.items())
    listed = ", ".join(f"{name} {value}" for name, value in sorted(period.environment.items())) or "unknown"
    return f"after {after}: {listed}" if after else listed


def _outputs(manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "digest": manifest.digest,
            "folder": manifest.folder,
            "environments": [_environment(period) for period in periods_of(manifest)],
            "settings": json.dumps(manifest.facts["settings"]),
        }
        for label, manifest in manifests.items()
    ]
