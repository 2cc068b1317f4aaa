"""report.html and its pictures, made from sealed artifacts alone; a page that needs no other file."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from flows.artifacts import Checkpoint, Dataset, Report, Samples
from flows.pictures import sample_grid
from flows.stages.report.sections import FinishedRun, render_page
from infra.dataset import DatasetReader
from infra.errors import InputError, IntegrityError
from infra.store import Store

FOLDER = "reports"
_RECIPES = ".recipes"
_GRID_IMAGES = 64


def write_report(name: str, store: Store, finished: FinishedRun, elsewhere: Mapping[str, str], recipe: str = "") -> str:
    """Write report.html, samples.png and run.json below reports/<name>; return that folder.

    Args:
        name: The run's.
        store: Where.
        finished: What the stages sealed.
        elsewhere: The run's pages in other programs, by the program's name.
        recipe: Its recipe's key, under which `has_report` finds that there is one.
    """
    folder = f"{FOLDER}/{name}"
    drawn, _ = DatasetReader(store=store, manifest=finished.samples.manifest(store)).load("samples", limit=_GRID_IMAGES)
    grid = sample_grid(drawn)
    run = {kind: record | {"reused": True} for kind, record in asdict(finished).items()}
    run["elsewhere"] = dict(elsewhere)
    page = render_page(name, store, finished, drawn, grid, elsewhere)
    files = {"samples.png": grid, "report.html": page.encode(), "run.json": _as_json(run)}
    for file, data in files.items():
        _put(store, f"{folder}/{file}", data)
    if recipe:
        store.put_if_absent(f"{_RECIPES}/{recipe}", name.encode())
    return folder


def has_report(store: Store, recipe: str) -> bool:
    """Tell whether a run of this recipe has been finished here, on any data."""
    return store.exists(f"{_RECIPES}/{recipe}")


def rewrite_report(name: str, store: Store) -> str:
    """Build a finished run's report again from what it sealed; return its folder.

    Raises:
        InputError: If there is no finished run of that name.
    """
    name = _full_name(name, store)
    path = f"{FOLDER}/{name}/run.json"
    try:
        run: dict[str, Any] = json.loads(store.read(path))
    except FileNotFoundError as error:
        known = _names(store)
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
    return write_report(name, store, finished, run.get("elsewhere", {}))


def _as_json(run: dict[str, Any]) -> bytes:
    # Figures of a run that is found sealed come in another order than those of its first attempt.
    figures = dict(sorted(run["report"]["metrics"].items()))
    return json.dumps(run | {"report": run["report"] | {"metrics": figures}}, indent=2).encode()


def _put(store: Store, name: str, data: bytes) -> None:
    """Put a file in place of another one; the same bytes stay, so that their readers always find them."""
    with suppress(FileNotFoundError):
        if store.read(name) == data:
            return
    store.delete(name)
    store.put_if_absent(name, data)


def _full_name(name: str, store: Store) -> str:
    """The run that a name or the last part of one means: its key's digits suffice."""
    ending = [known for known in _names(store) if known.endswith(f"-{name}")]
    return ending[0] if len(ending) == 1 else name


def _names(store: Store) -> list[str]:
    return sorted({entry.split("/")[1] for entry in store.list(FOLDER)})
