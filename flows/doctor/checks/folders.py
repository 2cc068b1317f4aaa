"""The folders of our own state: databases of Prefect's server, Ray's token, compiled code."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine


def check(_: Subject) -> Iterator[Finding]:
    """Write to the nearest folder that exists around each."""
    for variable, default in (("XDG_CACHE_HOME", ".cache"), ("XDG_STATE_HOME", ".local/state")):
        folder = Path(os.environ.get(variable) or Path.home() / default) / "ddpm-flows"
        there = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            cause = f"cannot be written ({error.strerror}): each run then begins without what the last one kept there"
            yield doubt(cause, item=str(folder), remedy=f"set {variable} to a folder of yours")
        else:
            yield fine("can be written", item=str(folder))
