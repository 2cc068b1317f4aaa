"""Nothing that differs from what was sealed is handed out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.run import Run, open_run
from infra.errors import IntegrityError
from tests.conftest import TinyRun
from tests.flows.conftest import NAME, manifest


@pytest.fixture
def run(finished: TinyRun) -> Run:
    return open_run(NAME, finished.root)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("samples", lambda run: run.images("samples")),
        ("samples", lambda run: list(run.batches("samples"))),
        ("dataset", lambda run: run.images("train", limit=1)),
        ("snapshot", lambda run: run.network()),
    ],
)
def test_damaged_bytes_are_refused(finished: TinyRun, run: Run, kind: str, use: Callable[[Run], object]) -> None:
    sealed = manifest(finished, kind)
    file = finished.root / sealed["folder"] / sealed["units"][0]["file"]
    damage(file)
    with pytest.raises(IntegrityError, match="differs from its digest"):
        use(run)
    file.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        use(run)


@pytest.mark.parametrize("kind", ["dataset", "snapshot", "samples", "figures"])
def test_a_damaged_manifest_is_refused(finished: TinyRun, kind: str) -> None:
    damage(finished.root / getattr(finished, kind).name)
    with pytest.raises(IntegrityError):
        open_run(NAME, finished.root)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("figures", {"figures": []}),
        ("figures", {"counts": {"distance_samples": 1}}),
        ("figures", {"extractor": "classifier"}),
        ("dataset", {"train_images": 1}),
        ("dataset", {"class_names": ["a"]}),
        ("snapshot", {"images_seen": 1}),
        ("samples", {"count": 1}),
    ],
)
def test_a_record_that_states_something_else_is_refused(finished: TinyRun, kind: str, changed: dict[str, Any]) -> None:
    path = finished.root / f"reports/{NAME}/run.json"
    record = json.loads(path.read_text())
    record[kind] |= changed
    path.write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match=r"run\.json: differs from what was sealed"):
        open_run(NAME, finished.root)


def test_another_stages_output_is_refused(finished: TinyRun) -> None:
    path = finished.root / f"reports/{NAME}/run.json"
    record = json.loads(path.read_text())
    record["samples"] = {"count": 24} | {name: record["dataset"][name] for name in ("name", "key", "digest")}
    path.write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match=r"run\.json"):
        open_run(NAME, finished.root)
