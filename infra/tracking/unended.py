"""Runs that MLflow shows as running although the process that would end them may be gone, found by their root."""

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from infra.tracking.pages import no_answer
from infra.tracking.runs import LEASE, PIPELINE_KEY, ROOT
from infra.tracking.store import make_client

_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class UnendedRun:
    """A run that MLflow shows as running.

    Attributes:
        name: Its name.
        key: Its identity, which the runs of its stages share.
        lease: The lease that its process holds, below its root.
        experiment_id: Its experiment.
    """

    name: str
    key: str
    lease: str
    experiment_id: str


class UnendedRuns:
    """The unended runs of a tracking server.

    Args:
        uri: MLflow's tracking URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None

    def below(self, root: str) -> list[UnendedRun]:
        """Return those of a root, of pipelines, single stages and sweeps, in the order of their names.

        Args:
            root: The root's name in the tags of its runs.

        Raises:
            StorageError: If the server does not answer.
        """
        try:
            found = [
                UnendedRun(name=str(run.info.run_name), key=key, lease=lease, experiment_id=experiment)
                for experiment in self._experiments()
                for run in self._running(experiment)
                if run.data.tags.get(ROOT) == root
                and (lease := run.data.tags.get(LEASE))
                and (key := run.data.tags.get(PIPELINE_KEY))
            ]
        except Exception as error:  # because each kind of server raises errors of its own
            raise no_answer(error, self._uri) from error
        return sorted(found, key=lambda run: run.name)

    def end_as_killed(self, unended: UnendedRun) -> bool:
        """End a run and its stages' runs as killed; False if the run has ended meanwhile.

        It is the last, so that one that could not be ended whole is found again.

        Raises:
            StorageError: If the server does not answer.
        """
        try:
            running = [
                run for run in self._running(unended.experiment_id) if run.data.tags.get(PIPELINE_KEY) == unended.key
            ]
            for run in sorted(running, key=lambda run: LEASE in run.data.tags):
                self._connected().set_terminated(run.info.run_id, "KILLED")
        except Exception as error:  # as above
            raise no_answer(error, self._uri) from error
        return any(LEASE in run.data.tags for run in running)

    def _connected(self) -> MlflowClient:
        if self._client is None:
            self._client = make_client(self._uri)
        return self._client

    def _experiments(self) -> Iterator[str]:
        token: str | None = None
        while token != "":
            page = self._connected().search_experiments(max_results=_PAGE, page_token=token)
            yield from (str(one.experiment_id) for one in page)
            token = page.token or ""

    def _running(self, experiment: str) -> Iterator[Run]:
        token: str | None = None
        while token != "":
            page = self._connected().search_runs(
                [experiment], "attributes.status = 'RUNNING'", max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token or ""
