"""Finds below a root what a user names: a run, an output, a file of one, or a digest."""

import re
from dataclasses import dataclass

from flows.inventory.inventory import Inventory, StoredRun, digests
from flows.inventory.output import FOLDER as OUTPUT_FOLDER
from flows.inventory.output import StoredOutput
from flows.run_record import FOLDER as REPORTS
from infra.errors import InputError
from infra.storage.store import Store

# An address, of which the first group is a name below a root; an output's is certain, so it goes before.
_BELOW = tuple(re.compile(rf"(?:.*/)?({name}(?:/.*)?)") for name in (OUTPUT_FOLDER.pattern, f"{REPORTS}/[^/]+"))
_DIGITS = re.compile(r"[0-9a-f]{4,64}")
# A file that is named after its record and the first digits of its digest.
_NAMED = re.compile(r"\.([0-9a-f]{12})\.[a-z]+$")
_MOST_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The thing that a user named.

    Attributes:
        run: The run; None if it is an output.
        output: The output; None if it is a run.
        digest: The digest by which the output was named, whole; empty if it was named otherwise.
        file: The name in the store of the file of the output that was named; empty if none was.
    """

    run: StoredRun | None = None
    output: StoredOutput | None = None
    digest: str = ""
    file: str = ""

    @property
    def name(self) -> str:
        """Its name below the root."""
        return self.run.name if self.run is not None else self.output.folder if self.output is not None else ""


def root_of(address: str) -> str:
    """Return the root that an address of something below it names; empty if it is relative to a root or is a name.

    Args:
        address: A path or URI of an output, a run's folder or a file of either; or a name or digest.
    """
    name = name_below(address)
    return address.removesuffix(name).rstrip("/") if name else ""


def find_subject(address: str, inventory: Inventory, store: Store) -> Subject:
    """Return what an address names.

    Args:
        address: A run's name or the digits at its end; the folder of an output, or a file in it, relative to the root
            or as a path or URI; or a digest of an output or of a file, or at least its first four digits.
        inventory: Everything below the root.
        store: The root.

    Raises:
        InputError: If there is no such thing, or there are several.
    """
    if name := name_below(address):
        return _below(name, address, inventory, store)
    runs = [run for run in inventory.runs if run.name == address]
    runs = runs or [run for run in inventory.runs if run.name.endswith(f"-{address}")]
    runs = runs or [run for run in inventory.runs if run.name.rpartition("-")[0] == address]
    subjects = [Subject(run=run) for run in runs]
    if not runs and _DIGITS.fullmatch(address):
        subjects = _with_digits(address, inventory, store)
    if len(subjects) == 1:
        return subjects[0]
    if not subjects:
        raise _missing(address, store)
    names = [subject.file or subject.name for subject in subjects]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    raise InputError(
        "names several things", item=address, remedy=f"choose one of {', '.join(names[:_MOST_NAMED])}{more}"
    )


def name_below(address: str) -> str:
    """Return the part of an address that is a name below a root, as of a root; empty if there is none."""
    return next((found[1] for pattern in _BELOW if (found := pattern.fullmatch(address))), "")


def _below(name: str, address: str, inventory: Inventory, store: Store) -> Subject:
    """Return what a name relative to the root names."""
    top, second, *rest = name.rstrip("/").split("/")
    if top == REPORTS:
        run = next((run for run in inventory.runs if run.name == second), None)
        if run is None:
            raise _missing(address, store)
        return Subject(run=run)
    output = inventory.outputs.get(f"{top}/{second}")
    if output is None or (rest and not store.exists(name.rstrip("/")) and not store.list(name.rstrip("/"))):
        raise _missing(address, store)
    digest = next((goal.digest for goal in output.sealed if goal.manifest == name), "")
    return Subject(output=output, digest=digest, file=name.rstrip("/") if rest else "")


def _with_digits(digits: str, inventory: Inventory, store: Store) -> list[Subject]:
    """Return the outputs whose digest or key starts with some digits; else the files whose digest does."""
    found = [
        Subject(output=output, digest=digest)
        for output in inventory.outputs.values()
        for digest in dict.fromkeys(digests(output))
        if digest.startswith(digits)
    ]
    found = found or [Subject(output=one) for one in inventory.outputs.values() if one.key.startswith(digits)]
    if found:
        # Attempts at one plan may have one digest: the latest is the one in use.
        latest = {(one.output.stage, one.output.key, one.digest): one for one in found if one.output is not None}
        return list(latest.values())
    return _files_with(digits, inventory, store)


def _files_with(digits: str, inventory: Inventory, store: Store) -> list[Subject]:
    """Return the files whose names hold the first digits of this digest; an output's later attempt goes before."""
    found: dict[str, Subject] = {}
    for output in sorted(inventory.outputs.values(), key=lambda output: output.attempt):
        for one in store.objects(output.folder):
            if (named := _NAMED.search(one.name)) and (named[1].startswith(digits) or digits.startswith(named[1])):
                inside = one.name.removeprefix(output.folder)
                found[f"{output.stage}/{output.key}{inside}"] = Subject(output=output, file=one.name)
    return list(found.values())


def _missing(address: str, store: Store) -> InputError:
    return InputError(
        f"no run, output, file or digest of that name below {store.uri}",
        item=address,
        remedy="`ddpm ls` lists the runs, `ddpm ls --outputs` the outputs",
    )
