"""`ddpm lineage`: a tree for people, JSON for programs, and the root that an address names."""

import json
from pathlib import Path

import pytest

from flows.cli import run_command
from infra.outputs.manifest import Manifest
from infra.storage.local_store import LocalStore
from tests.flows.inventory.roots import make_run


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Manifest]:
    """The outputs of a finished run."""
    return make_run(LocalStore(tmp_path / "root"))


def test_a_tree_back_and_one_forward(
    made: dict[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["lineage", "1a2b3c4d", "--root", str(tmp_path / "root")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("digits-1a2b3c4d  finished ")
    assert "used by  nothing below this root" in printed
    for manifest in made.values():
        assert manifest.folder in printed
    assert run_command(["lineage", str(tmp_path / "root" / made["prepare"].folder)]) == 0
    back, forward = capsys.readouterr().out.split("\n\n")
    assert back.startswith(made["prepare"].folder)
    assert "listing:  digest abababababab" in back
    assert forward.startswith("used by:")
    assert "dataset:  digits-1a2b3c4d" in forward


def test_json(made: dict[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lineage", made["train"].digest, "--root", str(tmp_path / "root"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["origin"]["name"] == made["train"].folder
    assert [node["role"] for node in found["origin"]["below"]] == ["dataset"]
    assert {node["role"] for node in found["uses"]["below"]} == {"snapshot"}


def test_what_is_not_there_is_one_line(
    made: dict[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["lineage", "nothing", "--root", str(tmp_path / "root")]) == 3
    shown = capsys.readouterr().err
    assert "nothing: no run, output, file or digest of that name" in shown
    assert shown.count("\n") == 1
    assert made
