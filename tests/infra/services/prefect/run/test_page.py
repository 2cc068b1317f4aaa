"""The page of a run, on a real server that is now and then away."""

import json
import uuid
from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_UI_URL, temporary_settings

from infra.services.prefect.run.page import RunPage
from tests.infra.services.prefect.conftest import Serving
from tests.infra.services.prefect.gate import Gate

AWAY = r"refused|disconnected|reset"


@flow
def shown() -> None:
    pass


@pytest.fixture
def page(client: SyncPrefectClient) -> RunPage:
    """The page of a run of its own."""
    return RunPage(client.create_flow_run(shown).id)


@pytest.fixture
def through(gate: Gate) -> Iterator[SyncPrefectClient]:
    """A client that the gate can cut off."""
    with get_client(sync_client=True) as asking:
        yield asking


def _artifacts(client: SyncPrefectClient, page: RunPage) -> list[Artifact]:
    found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[page.id])))
    return sorted(found, key=lambda one: str(one.key))


def test_name_progress_and_result(client: SyncPrefectClient, page: RunPage) -> None:
    page.rename("digits train.images=512")
    page.show_progress("train", 10.0, "lost between two deliveries")
    page.show_progress("train", 25.0, "16 of 64 images")
    page.show_progress("sample", 0.0, "begun")
    page.deliver(client)
    first = _artifacts(client, page)
    page.show_progress("train", 100.0, "64 of 64 images")
    page.show_page("result", "# Figures\n| a | b |", "Figures of digits")
    page.show_table("cost", [{"stage": "train", "wall time": "2.5 s"}], "Cost of digits")
    page.deliver(client)
    page.deliver(client)

    assert client.read_flow_run(page.id).name == "digits train.images=512"
    cost, result, sample, train = _artifacts(client, page)
    assert (cost.key, cost.type, cost.description) == ("cost", "table", "Cost of digits")
    assert json.loads(str(cost.data)) == [{"stage": "train", "wall time": "2.5 s"}]
    assert [(one.key, one.data) for one in first] == [("sample-progress", 0.0), ("train-progress", 25.0)]
    assert (train.id, train.key, train.type) == (first[1].id, "train-progress", "progress")
    assert (train.data, train.description) == (100.0, "64 of 64 images")
    assert (sample.data, sample.description) == (0.0, "begun")
    assert (result.key, result.type, result.data) == ("result", "markdown", "# Figures\n| a | b |")
    assert result.description == "Figures of digits"


def test_a_refused_delivery_is_tried_again(
    client: SyncPrefectClient, through: SyncPrefectClient, gate: Gate, page: RunPage
) -> None:
    page.show_progress("train", 25.0, "a quarter")
    page.deliver(through)
    gate.shut()
    page.show_page("result", "text", "line")
    with pytest.raises(Exception, match=AWAY):
        page.deliver(through)
    page.show_progress("train", 50.0, "half")
    with pytest.raises(Exception, match=AWAY):
        page.deliver(through)
    page.show_progress("train", 75.0, "three quarters")
    page.show_progress("sample", 75.0, "three quarters")
    gate.open()
    page.deliver(through)
    page.deliver(through)
    result, sample, train = _artifacts(client, page)
    assert (train.data, sample.data, result.data) == (75.0, 75.0, "text")


def test_jobs_keep_their_order_when_one_is_refused(
    client: SyncPrefectClient, through: SyncPrefectClient, gate: Gate, page: RunPage
) -> None:
    page.rename("first")
    page.rename("last")
    gate.shut()
    with pytest.raises(Exception, match=AWAY):
        page.deliver(through)
    gate.open()
    page.deliver(through)
    assert client.read_flow_run(page.id).name == "last"


def test_progress_that_somebody_deleted_is_shown_again(client: SyncPrefectClient, page: RunPage) -> None:
    page.show_progress("train", 25.0, "a quarter")
    page.deliver(client)
    (deleted,) = _artifacts(client, page)
    client.delete_artifact(deleted.id)
    page.show_progress("train", 50.0, "half")
    page.deliver(client)
    (shown_again,) = _artifacts(client, page)
    assert (shown_again.data, shown_again.description) == (50.0, "half")


def test_the_address_is_that_of_the_pages(serving: Serving, client: SyncPrefectClient) -> None:
    page = RunPage(uuid.uuid4())
    assert page.page == f"{serving.api.ui}/runs/flow-run/{page.id}"
    with temporary_settings({PREFECT_UI_URL: "https://pages.example"}):
        assert page.page == f"https://pages.example/runs/flow-run/{page.id}"


def test_a_line_without_a_run_goes_nowhere() -> None:
    RunPage(uuid.uuid4()).log("nobody listens")
