"""MLflow gets what it missed of finished runs later, once, from what they sealed; on real stores of MLflow."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.cli import run_command
from flows.recipe.config import PipelineConfig
from flows.recipe.identity import settings_of
from flows.run_record import TRACKING
from flows.runtime.late_tracking import deliver_late
from flows.runtime.surroundings import LEASES
from flows.runtime.tracking_record import TrackingRecord
from flows.stages.table import STAGES
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.record import DatasetInput, TrackedRun
from tests.conftest import TinyRun
from tests.flows.conftest import NAME
from tests.flows.sessions import run_whole

KEY = "1a2b3c4d5e6f7a8b9c0d"
PARTS = ("prepare", "train", "sample", "evaluate", "pipeline")
# Tags of a run that depend on the attempt and on the store.
OWN_TAGS = ("ddpm.attempt", "ddpm.attempts", "mlflow.parentRunId")
ORIGIN = {"mlflow.user": "ada", "mlflow.source.git.commit": "c" * 40}
AWAY = "http://127.0.0.1:9"


class Tracked:
    """A store of MLflow, with its artifacts beside it.

    Args:
        folder: Its folder.
        empty: An empty database.
    """

    def __init__(self, folder: Path, empty: Path) -> None:
        self.file = folder / "mlflow.db"
        folder.mkdir()
        shutil.copy(empty, self.file)
        self.client = MlflowClient(self.uri)
        self.client.create_experiment("ddpm", (folder / "artifacts").as_uri())

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.file}"

    def runs(self) -> dict[str, Run]:
        """All runs, by stage; fails if one is there twice."""
        experiment = self.client.get_experiment_by_name("ddpm")
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id])
        by_stage = {run.data.tags["ddpm.stage"]: run for run in found}
        assert len(by_stage) == len(found), "a run twice"
        return by_stage

    def everything(self) -> dict[str, dict[str, Any]]:
        """All that there is, without what differs from store to store: IDs, and times of runs."""
        return {stage: self._everything(run) for stage, run in self.runs().items()}

    def _everything(self, run: Run) -> dict[str, Any]:
        curves: dict[str, Any] = {}
        for name in run.data.metrics:
            points = self.client.get_metric_history(run.info.run_id, name)
            # The figures of a whole stage have the time of its run.
            curves[name] = [(one.step, one.value, one.timestamp if one.step else 0) for one in points]
        inputs = run.inputs
        return {
            "info": (run.info.run_name, run.info.status),
            "params": run.data.params,
            "tags": {name: value for name, value in run.data.tags.items() if name not in OWN_TAGS},
            "curves": curves,
            "inputs": sorted(str((one.dataset.to_dictionary(), one.tags[0].value)) for one in inputs.dataset_inputs),
            "models": (len(inputs.model_inputs), len(run.outputs.model_outputs) if run.outputs else 0),
            "files": self._files(run),
        }

    def _files(self, run: Run) -> dict[str, bytes]:
        place = self.file.parent / "artifacts" / run.info.run_id / "artifacts"
        return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.fixture
def stores(tmp_path: Path, _database: Path) -> Iterator[Tracked]:
    """Makes stores, each empty."""
    return (Tracked(tmp_path / f"mlflow-{number}", _database) for number in range(9))


@pytest.fixture
def tracked(stores: Iterator[Tracked], monkeypatch: pytest.MonkeyPatch) -> Tracked:
    """An empty store at MLFLOW_TRACKING_URI."""
    store = next(stores)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return store


@pytest.fixture
def missed(finished: TinyRun) -> TinyRun:
    """A finished run of which MLflow has nothing; its page is a short one."""
    config, store = finished.config, finished.store
    store.replace(f"reports/{NAME}/report.html", b"<html>page</html>")
    store.replace(f"reports/{NAME}/plots/loss.png", b"plot")
    source = DatasetInput(name="digits", uri="/data", digest=KEY, purpose="source")
    tags = {"ddpm.prefect": "http://prefect/1"}
    run = TrackedRun(key=KEY, name=NAME, params=settings_of(config), inputs=[source], tags=tags, origin=ORIGIN)
    record(config, run).write(store)
    return finished


def record(config: PipelineConfig, run: TrackedRun, **more: Any) -> TrackingRecord:
    stages = {name: getattr(config, name).model_dump(mode="json") for name in type(config).model_fields}
    return TrackingRecord(run=run, experiment="ddpm", stages=stages, **more)


def lines(run: TinyRun) -> dict[str, str]:
    """Deliver what is missing; return each run's line."""
    return {one.name: str(one.error or one.line) for one in deliver_late(run.store, STAGES)}


def test_it_gets_what_the_run_itself_would_have_sent(
    tiny_run: TinyRun,
    stores: Iterator[Tracked],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same run, once with its server there, and once with a server that is away until the run has ended."""
    there, late = next(stores), next(stores)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there.uri)
    name = run_whole(tiny_run.config, tiny_run.root).name
    written = tiny_run.store.read(f"reports/{name}/{TRACKING}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    capsys.readouterr()
    run_whole(tiny_run.config, tiny_run.root)
    assert f"ddpm track flush --root {tiny_run.root} delivers it later" in capsys.readouterr().out
    assert tiny_run.store.read(f"reports/{name}/{TRACKING}") == written
    assert run_command(["track", "flush", "--root", str(tiny_run.root)]) == 4
    assert f"MLflow at {AWAY} did not answer" in capsys.readouterr().err

    monkeypatch.setenv("MLFLOW_TRACKING_URI", late.uri)
    assert run_command(["track", "flush", "--root", str(tiny_run.root)]) == 0
    assert capsys.readouterr().out == f"{name}  delivered: {', '.join(PARTS)}\n"
    assert late.everything() == there.everything()
    assert set(late.runs()) == set(PARTS)
    assert "ddpm.attempts" not in late.runs()["train"].data.tags, "a delivery is no attempt"

    before = late.file.read_bytes()
    assert run_command(["track", "flush", "--root", str(tiny_run.root)]) == 0
    assert capsys.readouterr().out == f"{name}  was there\n"
    assert late.file.read_bytes() == before, "a second one writes nothing"


class Stop(BaseException):
    """Ends a delivery where it is, as a kill does."""


def test_stopped_anywhere_and_called_again_nothing_is_there_twice(
    missed: TinyRun, stores: Iterator[Tracked], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = next(stores), next(stores)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", whole.uri)
    calls = 0
    assert lines(missed)[NAME].startswith("delivered: ")
    for name in ("create_run", "log_batch", "log_inputs", "log_artifact", "set_terminated", "create_logged_model"):
        real = getattr(MlflowClient, name)

        def writing(*values: Any, _real: Any = real, **named: Any) -> Any:
            """Write, and then perhaps stop: the server has it, and we do not know."""
            nonlocal calls
            result = _real(*values, **named)
            calls -= 1
            if calls == 0:
                raise Stop
            return result

        monkeypatch.setattr(MlflowClient, name, writing)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stopped.uri)
    stops = 0
    while True:
        calls = 1 + 4 * stops  # a stage is marked as a whole, so each attempt must get further than the one before
        try:
            last = lines(missed)[NAME]
            break
        except Stop:
            stops += 1
            assert stops < 30, "it never ends"
    assert stops > 3
    assert last.startswith("delivered: ")
    assert stopped.everything() == whole.everything()
    assert lines(missed) == {NAME: "was there"}


def test_only_what_is_missing_is_named_and_a_changed_page_is_delivered(missed: TinyRun, tracked: Tracked) -> None:
    lines(missed)
    trained = tracked.runs()["train"].info.run_id
    tracked.client.delete_tag(trained, "ddpm.published")
    missed.store.replace(f"reports/{NAME}/report.html", b"<html>a new page</html>")
    assert lines(missed) == {NAME: "delivered: train, pipeline"}
    assert tracked.everything()["pipeline"]["files"]["report.html"] == b"<html>a new page</html>"
    assert lines(missed) == {NAME: "was there"}


def test_a_run_that_was_deleted_in_mlflow_stays_deleted(missed: TinyRun, tracked: Tracked) -> None:
    lines(missed)
    tracked.client.delete_run(tracked.runs()["pipeline"].info.run_id)
    assert lines(missed) == {NAME: "was deleted in MLflow; its own command tracks it anew"}
    assert "pipeline" not in tracked.runs()


def test_a_run_at_work_is_left_to_its_own_command(missed: TinyRun, tracked: Tracked) -> None:
    holder = Holder.here("another", datetime.now(UTC))
    with held(missed.store, f"{LEASES}/{KEY}/lease", holder, on_wait=print):
        assert lines(missed) == {NAME: "is at work: its command, or another flush, delivers it"}
    assert not tracked.runs()
    assert lines(missed)[NAME].startswith("delivered: ")
    for run in tracked.runs().values():
        assert {**run.data.tags}.items() >= ORIGIN.items(), "not the user and the code that deliver it"


def test_a_missed_registration_is_made_once(missed: TinyRun, tracked: Tracked) -> None:
    run = TrackingRecord.read(NAME, missed.store)
    assert run is not None
    lines(missed)
    record(missed.config, run.run, register_as="net").write(missed.store)
    assert lines(missed) == {NAME: "delivered: registration; champion of net: version 1, the first"}
    tracked.client.delete_registered_model_alias("net", "champion")
    assert lines(missed) == {NAME: "was there"}
    assert tracked.client.get_registered_model("net").aliases == {}, "what somebody took away is not given back"


def test_a_damaged_run_costs_its_own_delivery_alone(
    missed: TinyRun, tracked: Tracked, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("a-damaged", b"{}"), ("b-settings", None)):
        for file in ("run.json", TRACKING, "report.html"):
            missed.store.replace(f"reports/{name}/{file}", missed.store.read(f"reports/{NAME}/{file}"))
        if content is not None:
            missed.store.replace(f"reports/{name}/{TRACKING}", content)
    path = missed.root / "reports/b-settings" / TRACKING
    path.write_text(path.read_text().replace('"learning_rate"', '"learning_pace"'))
    missed.store.replace("reports/c-untracked/run.json", missed.store.read(f"reports/{NAME}/run.json"))
    assert run_command(["track", "flush", "--root", str(missed.root)]) == 6
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "a-damaged  is not delivered",
        "b-settings  is not delivered",
        "c-untracked  was run without tracking, or by an earlier version; its own command tracks it",
        f"{NAME}  delivered: {', '.join(PARTS)}",
    ]
    first, second = sorted(printed.err.splitlines())
    assert first == "ddpm: reports/a-damaged/tracking.json: is not a record of tracking - run the pipeline again"
    assert second.startswith("ddpm: reports/b-settings/tracking.json: settings that this version does not know (")
    assert set(tracked.runs()) == set(PARTS)
