"""Writes report.html, its pictures and its tables from sealed artifacts alone; the page needs no other file."""

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType

from flows.cost import StageCost
from flows.run_record import FinishedRun, RunRecord, read_record
from flows.stages.report.outputs import RunOutputs, draw, read_outputs
from flows.stages.report.sections import render_page
from infra.storage.store import Store

_RECIPES = ".recipes"
PLOTS = "plots"
_LOGGER = logging.getLogger(__name__)


def write_report(
    name: str,
    store: Store,
    finished: FinishedRun,
    elsewhere: Mapping[str, str],
    recipe: str = "",
    costs: Mapping[str, StageCost] = MappingProxyType({}),
) -> str:
    """Write report.html and its files under reports/<name>; return that folder.

    The files are samples.png, provenance.json, a PNG and a CSV of each plot in plots/, and run.json. A reader of an
    earlier report sees each file whole, either the old one or the new one.

    Args:
        name: The run's name.
        store: The store that holds the outputs and the report.
        finished: The artifacts that the stages sealed.
        elsewhere: The run's pages in other programs, by the program's name.
        recipe: The key of its recipe, which `has_report` looks up.
        costs: The cost of each stage, as far as it is recorded.
    """
    record = RunRecord(name=name, finished=finished, elsewhere=elsewhere, costs=costs)
    outputs = read_outputs(store, finished, name)
    if outputs.along is not None and outputs.along.remark:
        _LOGGER.warning("report %s: %s", name, outputs.along.remark)
    files = {f"{record.folder}/{file}": data for file, data in _files(record, outputs).items()}
    for file, data in files.items():
        store.replace(file, data)
    for file in set(store.list(f"{record.folder}/{PLOTS}")) - files.keys():
        store.delete(file)  # a plot of an earlier report, such as against runs that were pruned since
    record.write(store)
    if recipe:
        store.put_if_absent(f"{_RECIPES}/{recipe}", name.encode())
    return record.folder


def _files(record: RunRecord, outputs: RunOutputs) -> dict[str, bytes]:
    """Return the files of a report by their names in its folder, the page last."""
    drawings = draw(outputs)
    files = {"samples.png": drawings.samples}
    for plot in drawings.plots.values():
        files |= {f"{PLOTS}/{plot.name}.png": plot.png, f"{PLOTS}/{plot.name}.csv": plot.csv}
    provenance = [part.as_json() for part in outputs.provenance]
    files["provenance.json"] = json.dumps(provenance, indent=2).encode()
    costs = list(record.costs.values())
    return files | {"report.html": render_page(record.name, outputs, drawings, record.elsewhere, costs).encode()}


def has_report(store: Store, recipe: str) -> bool:
    """Tell whether a run of this recipe, on any data, has a report in this store."""
    return store.exists(f"{_RECIPES}/{recipe}")


def rewrite_report(name: str, store: Store) -> str:
    """Build a finished run's report again from its sealed outputs; return its folder.

    Args:
        name: The run's name, or the digits of its key.
        store: The store that holds the run.

    Raises:
        InputError: If there is no finished run of that name.
        IntegrityError: If the run's record or one of its outputs is damaged.
    """
    record = read_record(name, store)
    return write_report(record.name, store, record.finished, record.elsewhere, costs=record.costs)
