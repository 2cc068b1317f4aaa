"""The place that runs are tracked at: an MLflow server, or the database below the root."""

import os
from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine
from flows.doctor.installed import version_of
from flows.root import tracking_place


def check(subject: Subject) -> Iterator[Finding]:
    """Ask for its version, look for an experiment, and try to create one that is there already."""
    uri, folder = tracking_place(subject.root)
    if folder is not None and not (folder / "mlflow.db").is_file():
        yield fine(f"no server is named: the first run makes {folder / 'mlflow.db'}", item="MLFLOW_TRACKING_URI")
        return
    from infra.tracking.environment import set_environment
    from infra.tracking.pages import shown

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    set_environment()
    from infra.tracking.visit import visit

    item = f"MLFLOW_TRACKING_URI {shown(uri)}" if folder is None else shown(uri)
    theirs, ours = visit(uri, item), version_of("mlflow")
    if theirs and _is_older(theirs, ours):
        yield doubt(
            f"the server is MLflow {theirs}, older than our {ours}: some records may be refused",
            item=item,
            remedy="update the server",
        )
    else:
        yield fine(f"{f'MLflow {theirs} ' if theirs else ''}answers and takes new experiments", item=item)


def _is_older(one: str, other: str) -> bool:
    try:
        return Version(one).release[:2] < Version(other).release[:2]
    except InvalidVersion:
        return False
