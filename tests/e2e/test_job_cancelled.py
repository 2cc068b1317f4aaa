"""Cancel on the page of a run whose stages are jobs: the job stops with its work saved, and a new run goes on."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.job_cluster import JobCluster, job_cluster
from tests.e2e.serving import Serving, endless

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the reaper reads /proc")]

# Prefect's runner kills a run that is cancelled for longer.
LIMIT_S = 30


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobCluster]:
    with job_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def test_cancelled_its_job_stops_with_its_work_saved(cluster: JobCluster, tmp_path: Path) -> None:
    serving = Serving(tmp_path, **cluster.token)
    form = endless() | {"run": {"execution": "job", "ray_jobs": cluster.url}}

    def trainings() -> dict[str, str]:
        return {job["submission_id"]: job["status"] for job in cluster.jobs("ddpm-train-")}

    try:
        run = serving.server.start(form)
        serving.await_training(run)
        (name,) = trainings()
        serving.server.set_state(run, "CANCELLING", "Cancelling")
        assert serving.await_end(run, LIMIT_S)["state_type"] == "CANCELLED", serving.text()
        assert trainings() == {name: "STOPPED"}
        kept = serving.last_checkpoint()
        serving.server.await_line(run, f"{kept:,} are kept")
        assert "Traceback" not in "\n".join(serving.server.log(run))

        second = serving.server.start(form)
        serving.await_training(second, above=kept)
        serving.server.await_line(second, f"train resumed at {kept:,} of 50,000,000 images")
        assert sorted(trainings().values()) == ["RUNNING", "STOPPED"]
        serving.server.set_state(second, "CANCELLING", "Cancelling")
        assert serving.await_end(second, LIMIT_S)["state_type"] == "CANCELLED", serving.text()
        assert set(trainings().values()) == {"STOPPED"}
    finally:
        serving.stop()
        serving.command.assert_nothing_left(10)
