"""The root of all outputs: written, read, listed and emptied once, as a run does it; and its room."""

import os
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.checks.temporary import in_words
from flows.doctor.finding import Finding, doubt, fine
from infra.compute.system import space
from infra.errors import ConfigError, ResourceError
from infra.storage.trial import nearest_folder, trial
from infra.storage.uri import parse_place

_LEAST, _ENOUGH = 256 << 20, 5 << 30


def check(subject: Subject) -> Iterator[Finding]:
    """Try the store out, then look at its room."""
    place = parse_place(subject.root)
    item = f"root {place.uri}"
    if place.scheme == "file":
        _check_folder(place.path, item)
    with trial(subject.root) as tried:
        tried.exercise()
    if place.scheme == "s3":
        yield fine("takes, returns, lists and removes objects, and refuses a second writer", item=item)
        return
    free = space(nearest_folder(subject.root)).free
    if free < _LEAST:
        raise ResourceError(f"{in_words(free)} free", item=item, remedy="free some, or choose another root")
    if free < _ENOUGH:
        yield doubt(f"{in_words(free)} free; a long run may need more", item=item, remedy="free some")
    else:
        yield fine(f"can be used, {in_words(free)} free", item=item)


def _check_folder(path: str, item: str) -> None:
    there = nearest_folder(path)
    remedy = "choose another --root, or set DDPM_ROOT"
    if not there.is_dir():
        raise ConfigError(f"{there} is a file", item=item, remedy=remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{there} cannot be written", item=item, remedy=remedy)
