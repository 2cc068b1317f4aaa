"""The Prefect server that the user's settings name."""

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine
from flows.doctor.installed import version_of
from infra.services.prefect.settings import CLIENT_ENVIRONMENT, environment_variables, named_by_settings


def check(_: Subject) -> Iterator[Finding]:
    """Ask for its version and the number of its flows."""
    with environment_variables(CLIENT_ENVIRONMENT):
        url = named_by_settings()
        if not url:
            yield fine("no server is named: runs start one of their own", item="PREFECT_API_URL")
            return
        from infra.services.prefect.visit import visit

        theirs = visit(url)
    ours, item = version_of("prefect"), f"PREFECT_API_URL {url}"
    if not _same_series(theirs, ours):
        yield doubt(
            f"the server is Prefect {theirs}, and this is {ours}; forms and states may differ",
            item=item,
            remedy="run both in one version",
        )
    else:
        yield fine(f"Prefect {theirs} answers and takes our calls", item=item)


def _same_series(one: str, other: str) -> bool:
    try:
        return Version(one).release[:2] == Version(other).release[:2]
    except InvalidVersion:
        return False
