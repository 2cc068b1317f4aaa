"""`ddpm ls`: tables for people, JSON for programs."""

import json
from pathlib import Path

import pytest

from flows.cli import run_command
from infra.storage.local_store import LocalStore
from tests.flows.inventory.roots import make_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two finished runs and an unfinished one."""
    store = LocalStore(tmp_path / "root")
    make_run(store, "a-1a2b3c4d")
    make_run(store, "b-5e6f7a8b", rate=0.2)
    make_run(store, rate=0.3, finish=False)
    return store.root


def ls(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run_command(["ls", "--root", str(root), *options]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    return shown.out


def test_the_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = ls(root, capsys)
    first = next(line for line in printed.splitlines() if line.startswith("a-1a2b3c4d"))
    assert "finished" in first
    assert "fd_pixels 7.50 ± 0.50" in first
    assert first.endswith("train.learning_rate 0.1")
    assert max(map(len, printed.splitlines())) <= 120
    rows = json.loads(ls(root, capsys, "--json"))["runs"]
    assert [(row["name"], row["differences"]) for row in rows] == [
        ("a-1a2b3c4d", {"train.learning_rate": 0.1}),
        ("b-5e6f7a8b", {"train.learning_rate": 0.2}),
    ]
    assert rows[0]["figures"][0]["standard_error"] == 0.5
    assert set(rows[0]["outputs"]) == {"dataset", "snapshot", "samples", "figures"}


def test_the_outputs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(ls(root, capsys, "--outputs", "--json"))
    by_stage: dict[str, list[list[str]]] = {}
    for row in found["outputs"]:
        by_stage.setdefault(row["folder"].partition("/")[0], []).append(row["runs"])
    assert by_stage["prepare"] == [["a-1a2b3c4d", "b-5e6f7a8b"]]
    assert sorted(by_stage["train"]) == [[], ["a-1a2b3c4d"], ["b-5e6f7a8b"]]
    files = [path for path in root.rglob("*") if path.is_file() and "reports" not in path.parts]
    assert found["bytes"] == sum(path.stat().st_size for path in files)
    printed = ls(root, capsys, "--outputs")
    assert f"in {len(found['outputs'])} outputs" in printed
    assert any(line.split()[0] in found["outputs"][0]["folder"] for line in printed.splitlines() if line.strip())


def test_the_newest_first_and_no_more_than_asked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "reports/b-5e6f7a8b/run.json").touch()
    found = json.loads(ls(root, capsys, "--by", "newest", "--limit", "1", "--json"))
    assert [row["name"] for row in found["runs"]] == ["b-5e6f7a8b"]
    assert found["not_listed"] == 1
    assert "1 more are not listed" in ls(root, capsys, "--limit", "1")


def test_an_empty_root_and_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ls(tmp_path, capsys) == f"no runs below {tmp_path}: `ddpm run` makes one\n"
    assert ls(tmp_path, capsys, "--outputs") == f"no outputs below {tmp_path}: `ddpm run` makes some\n"
    assert not list(tmp_path.iterdir()), "it makes nothing"
    assert run_command(["ls", "--root", str(tmp_path / "none")]) == 3
    assert "is not there" in capsys.readouterr().err
