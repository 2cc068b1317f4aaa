"""The page of a Prefect run: its name, progress and results, put there by calls of `deliver` now and then."""

import collections
import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.events import emit_event
from prefect.exceptions import MissingContextError, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_UI_URL, get_current_settings

from infra.storage.download import without_secrets

_NOT_FOUND = 404
# The event of a network that became the champion of a registry.
CHAMPION_EVENT = "ddpm.champion"


class RunPage:
    """The news of a run until they are delivered; only `deliver` asks the server, so nothing else waits for it.

    Args:
        flow_run: The run's id.
    """

    def __init__(self, flow_run: UUID) -> None:
        self.id = flow_run
        self._jobs: collections.deque[Callable[[SyncPrefectClient], object]] = collections.deque()
        self._progress: dict[str, tuple[float, str]] = {}
        self._artifacts: dict[str, UUID] = {}  # by their keys

    @property
    def page(self) -> str:
        """The address of the page."""
        api = str(get_current_settings().api.url or "").removesuffix("/").removesuffix("/api")
        return f"{without_secrets(str(PREFECT_UI_URL.value() or api))}/runs/flow-run/{self.id}"

    def rename(self, name: str) -> None:
        """Give the run its name."""
        self._jobs.append(lambda client: client.update_flow_run(self.id, name=name))

    def show_progress(self, stage: str, percent: float, line: str) -> None:
        """Show how far a stage is; of several calls between two deliveries the last counts."""
        self._progress[stage] = (percent, line)

    def show_page(self, key: str, markdown: str, line: str) -> None:
        """Put a page of Markdown beside the run, in the place of an earlier one of this key."""
        self._jobs.append(lambda client: self._put(client, key, "markdown", markdown, line))

    def show_table(self, key: str, rows: Sequence[Mapping[str, str]], line: str) -> None:
        """Put a table beside the run, in the place of an earlier one of this key; the rows have the same columns."""
        data = json.dumps([dict(row) for row in rows])
        self._jobs.append(lambda client: self._put(client, key, "table", data, line))

    def announce_champion(self, address: str, line: str) -> None:
        """Tell the server that a network became the champion, as an event for its automations.

        Args:
            address: The network's, such as models:/digits/3.
            line: The decision, in one line.
        """
        resource = {"prefect.resource.id": f"ddpm.{address}", "prefect.resource.name": address}
        emit_event(CHAMPION_EVENT, resource, payload={"address": address, "line": line})

    def log(self, line: str, *, is_warning: bool = False) -> None:
        """Add a line to the log of the task that is at work, or to the run's own between tasks."""
        with contextlib.suppress(MissingContextError):
            get_run_logger().log(logging.WARNING if is_warning else logging.INFO, line)

    def deliver(self, client: SyncPrefectClient) -> None:
        """Put the news on the page; the next call tries again to deliver news that the server refuses."""
        for stage, (percent, line) in list(self._progress.items()):
            self._put(client, f"{stage}-progress", "progress", percent, line)
            if self._progress.get(stage) == (percent, line):
                del self._progress[stage]
        while self._jobs:
            self._jobs[0](client)
            self._jobs.popleft()

    def _put(self, client: SyncPrefectClient, key: str, kind: str, data: float | str, line: str) -> None:
        """Put an artifact on the page, in the place of an earlier one of this key."""
        if not self._update(client, key, data, line):
            made = ArtifactCreate(key=key, type=kind, data=data, description=line, flow_run_id=self.id)
            self._artifacts[key] = client.create_artifact(made).id

    def _update(self, client: SyncPrefectClient, key: str, data: float | str, line: str) -> bool:
        """Update an artifact; False if it is not on the page, or if somebody has deleted it."""
        if key not in self._artifacts:
            return False
        try:
            client.update_artifact(self._artifacts[key], ArtifactUpdate(data=data, description=line))
        except PrefectHTTPStatusError as error:
            if error.response.status_code != _NOT_FOUND:
                raise
            return False
        return True
