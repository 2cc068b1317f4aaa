"""Pictures and figures of the run that `make showcase` made, for the README and benchmarks/RESULTS.md.

`python -m docs.showcase` takes the run below the root that it is given, else below DDPM_ROOT or ./ddpm-runs. It writes
the pictures into docs/showcase/ and the figures into docs/showcase.json, and prints the rows of the tables.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.reference import table
from flows.run import Run, open_run
from flows.run_record import read_record
from flows.stages.report.outputs import draw, read_outputs
from infra.errors import DdpmError

HERE = Path(__file__).parent
COMMAND = "make showcase"
_PRESET = "showcase"


def pictures(run: Run) -> dict[str, bytes]:
    """Return every picture of the run's report that shows this run alone, as PNG bytes by name."""
    drawn = draw(read_outputs(run.store, read_record(run.name, run.store).finished))
    grids = {name: data for name, data in vars(drawn).items() if isinstance(data, bytes)}
    return grids | {name: plot.png for name, plot in drawn.plots.items() if name not in drawn.compared}


def facts(run: Run) -> dict[str, Any]:
    """Return the run's figures, and where and how fast it was trained, as plain values."""
    trained = run.manifests["train"]
    seconds, before = 0.0, 0
    for row in trained.facts["history"]:
        if row.get("images_per_second"):
            seconds += (row["images_seen"] - before) / row["images_per_second"]
            before = row["images_seen"]
    return {
        "command": COMMAND,
        "run": run.name,
        "commit": _commit(),
        "machine": "{device}, torch {torch}, {dtype}".format(**trained.environment),
        "images": run.snapshot.images_seen,
        "samples": run.samples.count,
        "training_minutes": seconds / 60,
        "figures": run.table(),
    }


def figure_table(measured: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        ("images trained on, repeats counted", f"{measured['images']:,}"),
        ("time of the training steps", f"{measured['training_minutes']:.0f} min"),
        ("samples", f"{measured['samples']:,}"),
    ]
    for figure in measured["figures"]:
        error = figure["standard_error"]
        interval = "" if error is None else f" ± {error:.2g}"
        rows.append((f"`{figure['name']}`", f"{figure['value']:.4g}{interval}"))
    return table((f"measured by `{measured['command']}`", f"on {measured['machine']}"), rows)


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def write(run: Run, folder: Path) -> str:
    """Write pictures and figures of a run into a folder; return the table."""
    (folder / _PRESET).mkdir(exist_ok=True)
    for name, data in pictures(run).items():
        (folder / _PRESET / f"{name}.png").write_bytes(data)
    measured = facts(run)
    (folder / f"{_PRESET}.json").write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return figure_table(measured)


def main() -> None:
    """Write the pictures, and print the table."""
    parser = argparse.ArgumentParser(description="Pictures and figures of the run of make showcase.")
    parser.add_argument("root", nargs="?", default="", help="where the run is; default: DDPM_ROOT, else ./ddpm-runs")
    parser.add_argument("--run", default=_PRESET, help="its name, or a part of it that no other has")
    parser.add_argument("--into", type=Path, default=HERE, help="the folder to write into")
    given = parser.parse_args()
    try:
        sys.stdout.write(write(open_run(given.run, given.root), given.into) + "\n")
    except DdpmError as error:
        raise SystemExit(f"showcase: {error}") from error


if __name__ == "__main__":
    main()
