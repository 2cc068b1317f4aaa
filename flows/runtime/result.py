"""The end of a run in few lines: its table on the terminal, and the same with pictures as Markdown for a page."""

import base64
from collections.abc import Mapping, Sequence

from rich.table import Table

from flows.artifacts import Report
from flows.recipe.config import PipelineConfig
from flows.runtime.runner import StageTime

Row = tuple[str, str, str]


def figure_rows(config: PipelineConfig, report: Report, times: Mapping[str, StageTime]) -> list[Row]:
    """The figures and the rates of this attempt, each with a note on what it is."""
    figures = report.figures
    samples = report.counts["fd_samples"]
    rows = [
        (
            report.extractor,
            f"{figures[f'eval/{report.extractor}']:.3f}",
            f"Fréchet distance of {samples:,} samples to the training split",
        )
    ]
    kind = "estimated upper bound" if report.bound_timesteps else "upper bound"
    given = " given the labels" if config.train.class_conditional else ""
    for variance in report.variances:
        figure, error = (figures[f"eval/bits_per_dim_{variance}{end}"] for end in ("", "_stderr"))
        rows.append(("bits/dim", f"{figure:.3f} ± {error:.3f}", f"{kind}{given}, {variance}, 256 levels"))
    for stage, spent in times.items():
        if spent.reused:
            rows.append((stage, "sealed before", ""))
        else:
            rows.append(
                (stage, f"{spent.done / spent.seconds:,.1f}", f"{spent.unit}/s of this attempt, start-up counted in")
            )
    return rows


def table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    made = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*row)
    return made


def render_run_page(name: str, rows: Sequence[Row], picture: bytes, links: Mapping[str, str]) -> str:
    """Rows, sample grid and links as Markdown; the picture is inside, so that the page needs no other file."""
    lines = [f"## {name}", "", "| | figure | |", "|---|---:|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    lines += ["", *(f"* {what.strip()}: {_link(address)}" for what, address in links.items())]
    return "\n".join([*lines, "", f"![samples](data:image/png;base64,{base64.b64encode(picture).decode()})", ""])


def _link(address: str) -> str:
    """An address to click, or a path or command to copy."""
    return f"<{address}>" if address.startswith(("http://", "https://")) and " " not in address else f"`{address}`"
