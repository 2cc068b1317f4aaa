"""The page of a Prefect run: its name, progress and results, put there by calls of `deliver` now and then."""

import collections
import contextlib
from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.events import emit_event
from prefect.exceptions import MissingContextError, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_UI_URL, get_current_settings

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
        self._artifacts: dict[str, UUID] = {}

    @property
    def page(self) -> str:
        """The address of the page."""
        api = str(get_current_settings().api.url or "").removesuffix("/").removesuffix("/api")
        return f"{PREFECT_UI_URL.value() or api}/runs/flow-run/{self.id}"

    def rename(self, name: str) -> None:
        """Give the run its name."""
        self._jobs.append(lambda client: client.update_flow_run(self.id, name=name))

    def show_progress(self, stage: str, percent: float, line: str) -> None:
        """Show how far a stage is; of several calls between two deliveries the last counts."""
        self._progress[stage] = (percent, line)

    def show_page(self, key: str, markdown: str, line: str) -> None:
        """Put a page of Markdown beside the run."""
        made = ArtifactCreate(key=key, type="markdown", data=markdown, description=line, flow_run_id=self.id)
        self._jobs.append(lambda client: client.create_artifact(made))

    def announce_champion(self, address: str, line: str) -> None:
        """Tell the server that a network became the champion, as an event for its automations.

        Args:
            address: The network's, such as models:/digits/3.
            line: The decision, in one line.
        """
        resource = {"prefect.resource.id": f"ddpm.{address}", "prefect.resource.name": address}
        emit_event(CHAMPION_EVENT, resource, payload={"address": address, "line": line})

    def log(self, line: str) -> None:
        """Add a line to the run's log, or to that of the task that is at work."""
        with contextlib.suppress(MissingContextError):
            get_run_logger().info(line)

    def deliver(self, client: SyncPrefectClient) -> None:
        """Put the news on the page; the next call tries again to deliver news that the server refuses."""
        for stage, (percent, line) in list(self._progress.items()):
            if not self._update_progress(client, stage, percent, line):
                made = ArtifactCreate(
                    key=f"{stage}-progress", type="progress", data=percent, description=line, flow_run_id=self.id
                )
                self._artifacts[stage] = client.create_artifact(made).id
            if self._progress.get(stage) == (percent, line):
                del self._progress[stage]
        while self._jobs:
            self._jobs[0](client)
            self._jobs.popleft()

    def _update_progress(self, client: SyncPrefectClient, stage: str, percent: float, line: str) -> bool:
        """Update a stage's progress; False if it is not on the page, or if somebody has deleted it."""
        if stage not in self._artifacts:
            return False
        try:
            client.update_artifact(self._artifacts[stage], ArtifactUpdate(data=percent, description=line))
        except PrefectHTTPStatusError as error:
            if error.response.status_code != _NOT_FOUND:
                raise
            return False
        return True
