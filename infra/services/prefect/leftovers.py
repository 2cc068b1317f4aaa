"""Runs that a server still calls running although their processes ended: marked, so that no page waits for them.

Only for a server of our own, whose database one process has for itself: no run that it calls running can live then.
"""

import json
import urllib.request
from typing import Any

_AT_WORK = ["RUNNING", "PENDING", "CANCELLING"]
_MESSAGE = "Its process ended without a word. A new run of it goes on from the finished work."
_PAGE = 200


def mark_lost_runs(url: str) -> list[str]:
    """Mark flow runs and tasks as crashed, or as cancelled if somebody was cancelling them; return the runs' names."""
    runs = _at_work(url, "flow_runs")
    for run in runs:
        cancelled = run["state_type"] == "CANCELLING"
        _set_state(url, "flow_runs", run["id"], "CANCELLED" if cancelled else "CRASHED")
    for task in _at_work(url, "task_runs"):
        _set_state(url, "task_runs", task["id"], "CRASHED")
    return [str(run["name"]) for run in runs]


def _at_work(url: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        query = {kind: {"state": {"type": {"any_": _AT_WORK}}}, "limit": _PAGE, "offset": len(found)}
        page = _post(f"{url}/{kind}/filter", query)
        found += page
        if len(page) < _PAGE:
            return found


def _set_state(url: str, kind: str, number: str, state: str) -> None:
    body = {"state": {"type": state, "name": state.capitalize(), "message": _MESSAGE}, "force": True}
    _post(f"{url}/{kind}/{number}/set_state", body)


def _post(url: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)
