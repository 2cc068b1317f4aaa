"""Write report.html and its pictures from sealed artifacts alone; the page needs no other file."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flows.artifacts import Dataset, Figures, Samples, Snapshot, artifact_from_json
from flows.pages.pictures import sample_grid
from flows.stages.report.sections import FinishedRun, read_outputs, render_page
from infra.errors import InputError, IntegrityError
from infra.storage.store import Store

FOLDER = "reports"
_RECIPES = ".recipes"


def write_report(name: str, store: Store, finished: FinishedRun, elsewhere: Mapping[str, str], recipe: str = "") -> str:
    """Write report.html, samples.png and run.json under reports/<name>; return that folder.

    A reader of an earlier report finds each file whole, the old one or the new one.

    Args:
        name: The run's.
        store: Where the outputs are and the report goes.
        finished: The artifacts that the stages sealed.
        elsewhere: The run's pages in other programs, by the program's name.
        recipe: The key of its recipe, which `has_report` looks up.
    """
    folder = f"{FOLDER}/{name}"
    outputs = read_outputs(store, finished)
    grid = sample_grid(outputs.drawn)
    run = {kind: record | {"reused": True} for kind, record in asdict(finished).items()}
    run["elsewhere"] = dict(elsewhere)
    page = render_page(name, outputs, grid, elsewhere)
    files = {"samples.png": grid, "report.html": page.encode(), "run.json": _as_json(run)}
    for file, data in files.items():
        store.replace(f"{folder}/{file}", data)
    if recipe:
        store.put_if_absent(f"{_RECIPES}/{recipe}", name.encode())
    return folder


def has_report(store: Store, recipe: str) -> bool:
    """Tell whether a run of this recipe, on any data, has a report in this store."""
    return store.exists(f"{_RECIPES}/{recipe}")


def rewrite_report(name: str, store: Store) -> str:
    """Build a finished run's report again from its sealed outputs; return its folder.

    Args:
        name: The run's name, or the digits of its key.
        store: Where the run is.

    Raises:
        InputError: If there is no finished run of that name.
        IntegrityError: If the run's record or one of its outputs is damaged.
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
        finished = FinishedRun(
            dataset=artifact_from_json(Dataset, run["dataset"]),
            snapshot=artifact_from_json(Snapshot, run["snapshot"]),
            samples=artifact_from_json(Samples, run["samples"]),
            figures=artifact_from_json(Figures, run["figures"]),
        )
    except (KeyError, TypeError, IntegrityError) as error:
        raise IntegrityError("is not a run's record", item=path, remedy="run the pipeline again") from error
    return write_report(name, store, finished, run.get("elsewhere", {}))


def _as_json(run: dict[str, Any]) -> bytes:
    # Sorted, because the figures of a run that is found sealed come in another order than those of its first attempt.
    figures = dict(sorted(run["figures"]["metrics"].items()))
    return json.dumps(run | {"figures": run["figures"] | {"metrics": figures}}, indent=2).encode()


def _full_name(name: str, store: Store) -> str:
    """Return the run that ends in these digits of its key if there is exactly one, else the name itself."""
    ending = [known for known in _names(store) if known.endswith(f"-{name}")]
    return ending[0] if len(ending) == 1 else name


def _names(store: Store) -> list[str]:
    return sorted({entry.split("/")[1] for entry in store.list(FOLDER)})
