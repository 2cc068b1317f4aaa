"""The jobs server at RAY_API_SERVER_ADDRESS, to which a run with `--execution job` talks."""

import os
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, fine
from flows.runtime.connections import JOBS_VARIABLE, jobs_address
from flows.runtime.settings import RunSettings
from infra.compute.jobs_client import visit
from infra.storage.download import without_secrets


def check(_: Subject) -> Iterator[Finding]:
    """Open a client as a run does, compare the versions of Ray, and ask for the jobs; none is started."""
    if not os.environ.get(JOBS_VARIABLE):
        yield fine("no jobs server is named: a run with --execution job needs one", item=JOBS_VARIABLE)
        return
    address = jobs_address(RunSettings(execution="job"))
    yield fine(f"Ray {visit(address)} answers and takes our calls", item=f"{JOBS_VARIABLE} {without_secrets(address)}")
