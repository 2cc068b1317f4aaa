"""A run is finished once its record is written, and the record is found by the run's name."""

import json
from pathlib import Path

import pytest

from flows.cost import stage_cost
from flows.run_record import RunRecord, read_record, run_names
from infra.errors import InputError
from infra.outputs.costs import Attempt
from infra.storage.local_store import LocalStore
from tests.conftest import TinyRun


def test_what_is_written_is_read(tiny_run: TinyRun) -> None:
    links = {"MLflow": "http://127.0.0.1:5000/#/runs/1"}
    RunRecord(name="digits-1a2b3c4d", finished=tiny_run.finished, elsewhere=links).write(tiny_run.store)
    found = read_record("1a2b3c4d", tiny_run.store)
    assert (found.name, found.folder, found.elsewhere) == ("digits-1a2b3c4d", "reports/digits-1a2b3c4d", links)
    for name in ("dataset", "snapshot", "samples", "figures"):
        written, read = getattr(tiny_run.finished, name), getattr(found.finished, name)
        assert (read.name, read.digest, read.reused) == (written.name, written.digest, True)
    assert found.finished.figures.metrics == tiny_run.figures.metrics
    text = json.loads((tiny_run.root / "reports/digits-1a2b3c4d/run.json").read_text())
    assert list(text["figures"]["counts"]) == sorted(text["figures"]["counts"])


def test_costs_are_kept_and_damaged_ones_left_out(tiny_run: TinyRun) -> None:
    attempt = Attempt(stage="train", output="train/ab", outcome="sealed", unit="images", done=1280, wall_s=2.5)
    cost = stage_cost([attempt], "train/ab", {"images": 1280})
    assert cost is not None
    RunRecord(name="digits-1a2b3c4d", finished=tiny_run.finished, costs={"train": cost}).write(tiny_run.store)
    assert read_record("1a2b3c4d", tiny_run.store).costs == {"train": cost}
    path = tiny_run.root / "reports/digits-1a2b3c4d/run.json"
    for costs in (None, {}, [3], [{"stage": "train"}]):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"costs": costs}))
        assert read_record("1a2b3c4d", tiny_run.store).costs == {}


def test_a_report_that_is_still_written_is_no_finished_run(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.replace("reports/begun-1a2b3c4d/report.html", b"")
    store.replace("reports/done-5e6f7a8b/run.json", b"{}")
    assert run_names(store) == ["done-5e6f7a8b"]
    with pytest.raises(InputError, match=r"choose one of done-5e6f7a8b$"):
        read_record("begun-1a2b3c4d", store)
