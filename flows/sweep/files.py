"""The files of a sweep in `sweeps/NAME/`: its page, its table, its plot and its record."""

import json
from collections.abc import Sequence
from typing import Any

from flows.pages.page import render
from flows.sweep.outcome import SweepRun
from flows.sweep.plan import SweepPlan
from flows.sweep.plot import sweep_plot
from flows.sweep.table import SweepTable
from flows.sweep.view import as_csv, view_of
from infra.outputs.presence import LEASES
from infra.storage.store import Store

FOLDER = "sweeps"
PAGE, TABLE, PLOT, RECORD = "sweep.html", "table.csv", "plot.png", "sweep.json"


def lease_of(name: str) -> str:
    """Return the lease of a sweep's name, so that one process at a time writes its files."""
    return f"{LEASES}/sweep-{name}/lease"


def sweep_files(plan: SweepPlan, table: SweepTable, runs: Sequence[SweepRun]) -> dict[str, bytes]:
    """Return the files of a sweep by their names; there is no plot before a run is finished."""
    sheet, plot = as_csv(table).encode(), sweep_plot(table)
    page = render("sweep.html", view=view_of(plan, table, runs), plot=plot, csv=sheet)
    files = {TABLE: sheet, RECORD: _record(plan, table, runs), PAGE: page.encode()}
    return files if plot is None else {PLOT: plot} | files


def write_files(name: str, files: dict[str, bytes], store: Store) -> str:
    """Write the files of a sweep, the page last; return the sweep's folder."""
    folder = f"{FOLDER}/{name}"
    for file, data in files.items():
        store.replace(f"{folder}/{file}", data)
    return folder


def _record(plan: SweepPlan, table: SweepTable, runs: Sequence[SweepRun]) -> bytes:
    record: dict[str, Any] = {
        "version": 1,
        "sweep": plan.name,
        "preset": plan.preset,
        "grid": {axis.path: list(axis.values) for axis in plan.axes},
        "seeds": list(plan.varied),
        "by": table.by,
        "best": None if table.best is None else dict(table.rows[table.best].settings),
        "note": table.note,
        "runs": [
            {
                "name": run.name,
                "key": run.key,
                "settings": dict(plan.combinations[run.planned.combination]),
                "seeds": dict(run.planned.seeds),
                "state": run.state.value,
                "exit_code": run.code,
                "line": run.line,
            }
            for run in runs
        ],
    }
    return json.dumps(record, indent=2).encode()
