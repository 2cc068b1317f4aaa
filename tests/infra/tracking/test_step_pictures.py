"""Pictures by step: MLflow's pages find them as they find its own, and a repetition adds none."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.record import Picture
from infra.tracking.step_pictures import FOLDER, picture_files
from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import all_runs, client_of, record


def png(value: int, width: int = 600, height: int = 300) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), (value, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


PICTURES = [Picture(name="train/samples", step=640 * n, time_ms=1_700_000_000_000 + n, png=png(n)) for n in (1, 2)]


def names(tracker: Tracker, run: str) -> list[str]:
    return sorted(file.path.partition("/")[2] for file in client_of(tracker).list_artifacts(run, FOLDER))


def test_they_are_named_as_mlflow_names_its_own(tracker: Tracker) -> None:
    """The pages read a picture's place from its file's name: this one must have the parts of that of `log_image`."""
    client, run = client_of(tracker), tracker.run_id
    first = PICTURES[0]
    pixels = np.asarray(Image.open(BytesIO(first.png)))
    client.log_image(run, pixels, key=first.name, step=first.step, timestamp=first.time_ms, synchronous=True)
    unique = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    theirs, ours = names(tracker, run), sorted(name for name, _ in picture_files(PICTURES[:1]))
    assert [len(unique.findall(name)) for name in ours] == [1, 1]
    assert [unique.sub("ID", name) for name in ours] == [unique.sub("ID", name) for name in theirs]


def test_the_small_copy_keeps_the_shape() -> None:
    files = dict(picture_files(PICTURES[:1]))
    small, whole = sorted(files)
    assert files[whole] == PICTURES[0].png
    assert Image.open(BytesIO(files[small])).size == (256, 128)
    narrow = Picture(name="x", step=0, time_ms=0, png=png(3, width=8, height=8))
    assert {Image.open(BytesIO(data)).size for _, data in picture_files([narrow])} == {(8, 8)}


def test_a_stage_and_its_pipeline_have_them_once(tracker: Tracker, key: str, folder: Path) -> None:
    made = []

    def pictures() -> list[Picture]:
        made.append(True)
        return PICTURES

    for digest in ("1" * 64, "2" * 64, "2" * 64):
        tracker.begin("train", {})
        tracker.publish("train", record(pictures=pictures, digest=digest))
    assert tracker.complaint == ""
    assert len(made) == 2, "nobody makes pictures that are there"
    expected = sorted(name for name, _ in picture_files(PICTURES))
    for run in all_runs(tracker, key).values():
        assert names(tracker, run.info.run_id) == expected
        assert run.data.tags["mlflow.loggedImages"] == "True"


def test_a_stage_without_pictures_promises_none(tracker: Tracker, key: str) -> None:
    tracker.begin("sample", {})
    tracker.publish("sample", record())
    assert "mlflow.loggedImages" not in all_runs(tracker, key)["sample"].data.tags


def test_pictures_that_cannot_be_made_cost_themselves_alone(
    tracker: Tracker, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[Picture]:
        raise OSError("the store is away")

    tracker.begin("train", {})
    tracker.publish("train", record(pictures=broken))
    assert tracker.complaint.endswith("did not take images (the store is away)")
    run = all_runs(tracker, key)["train"]
    assert run.info.status == "FINISHED"
    assert "ddpm.published" not in run.data.tags
    assert [file.path for file in client_of(tracker).list_artifacts(run.info.run_id)] == ["notes.txt"]
    assert len(caplog.records) == 1
