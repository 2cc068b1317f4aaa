"""Runs that a server still calls running although their processes ended: marked, so that no page waits for them.

Only for a server of our own, when it starts. A run of another process may have outlived the server before; it takes
itself back at its next look.
"""

import base64
import json
import urllib.request
from typing import Any

from infra.services.prefect.lost import LOST

_AT_WORK = ["RUNNING", "PENDING", "CANCELLING"]
_PAGE = 200


def mark_lost_runs(url: str, key: str = "") -> list[str]:
    """Mark flow runs and tasks as crashed, or as cancelled if somebody was cancelling them.

    Args:
        url: The server's API.
        key: The `user:password` that it asks for; empty for none.

    Returns:
        The runs' names.
    """
    server = _Server(url, key)
    runs = server.at_work("flow_runs")
    for run in runs:
        cancelled = run["state_type"] == "CANCELLING"
        server.set_state("flow_runs", run["id"], "CANCELLED" if cancelled else "CRASHED")
    for task in server.at_work("task_runs"):
        server.set_state("task_runs", task["id"], "CRASHED")
    return [str(run["name"]) for run in runs]


class _Server:
    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers = url, {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Basic {base64.b64encode(key.encode()).decode()}"

    def at_work(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            query = {kind: {"state": {"type": {"any_": _AT_WORK}}}, "limit": _PAGE, "offset": len(found)}
            page = self._post(f"{kind}/filter", query)
            found += page
            if len(page) < _PAGE:
                return found

    def set_state(self, kind: str, number: str, state: str) -> None:
        body = {"state": {"type": state, "name": state.capitalize(), "message": LOST}, "force": True}
        self._post(f"{kind}/{number}/set_state", body)

    def _post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(f"{self._url}/{path}", json.dumps(body).encode(), self._headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)
