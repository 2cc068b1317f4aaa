"""Writes report.html and its pictures from sealed artifacts alone; the page needs no other file."""

from collections.abc import Mapping

from flows.pages.pictures import sample_grid
from flows.stages.report.outputs import read_outputs
from flows.stages.report.record import FinishedRun, RunRecord, read_record
from flows.stages.report.sections import render_page
from infra.storage.store import Store

_RECIPES = ".recipes"


def write_report(name: str, store: Store, finished: FinishedRun, elsewhere: Mapping[str, str], recipe: str = "") -> str:
    """Write report.html, samples.png and run.json under reports/<name>; return that folder.

    A reader of an earlier report sees each file whole, either the old one or the new one.

    Args:
        name: The run's name.
        store: The store that holds the outputs and the report.
        finished: The artifacts that the stages sealed.
        elsewhere: The run's pages in other programs, by the program's name.
        recipe: The key of its recipe, which `has_report` looks up.
    """
    record = RunRecord(name=name, finished=finished, elsewhere=elsewhere)
    outputs = read_outputs(store, finished)
    grid = sample_grid(outputs.drawn)
    page = render_page(name, outputs, grid, elsewhere)
    for file, data in {"samples.png": grid, "report.html": page.encode()}.items():
        store.replace(f"{record.folder}/{file}", data)
    record.write(store)
    if recipe:
        store.put_if_absent(f"{_RECIPES}/{recipe}", name.encode())
    return record.folder


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
    return write_report(record.name, store, record.finished, record.elsewhere)
