"""The answer of a node, here of this machine: versions, code, and whether it sees the root."""

import json
from pathlib import Path

import pytest

from flows.doctor import node
from flows.doctor.node import Node, Question, code_digest, read_soon, versions
from infra.errors import error_from_json
from infra.storage.open import open_store
from infra.storage.store import Store

TOKEN = "ab" * 16


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "this_node", lambda: "c0ffee")
    monkeypatch.setattr(node, "_PATIENCE_S", 0.1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "root"))
    store.make()
    store.put_if_absent(".trial/x/driver", TOKEN.encode())
    return store


def ask(root: str, folder: str = ".trial/x") -> Node:
    return Node.from_json(json.loads(json.dumps(Question(root=root, folder=folder, token=TOKEN)())))


def test_a_node_that_sees_the_root_writes_beside_the_drivers_object(store: Store) -> None:
    answer = ask(store.uri)
    assert answer.fault == ""
    assert store.read(".trial/x/c0ffee") == TOKEN.encode()
    assert answer.versions == versions()
    assert answer.hardware.cores >= 1
    assert 0 < answer.used <= 1


def test_a_node_without_the_folder_says_so_and_makes_none(tmp_path: Path) -> None:
    answer = ask(str(tmp_path / "elsewhere"))
    error = error_from_json(answer.fault)
    assert (error.exit_code, "does not see the root" in str(error)) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_name_on_another_disk(store: Store) -> None:
    """Another run's object lies there under the same name."""
    store.replace(".trial/x/driver", b"another")
    assert "does not see the root" in ask(store.uri).fault
    assert not store.exists(".trial/x/c0ffee"), "it writes nothing to a store that is not the root"


def test_a_root_that_is_not_to_be_looked_at(tmp_path: Path) -> None:
    assert ask(str(tmp_path / "elsewhere"), folder="").fault == ""


def test_an_object_that_appears_late_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_PATIENCE_S", 5.0)
    monkeypatch.setattr(node.time, "sleep", lambda _: store.put_if_absent("late", b"here"))
    assert read_soon(store, "late") == b"here"


def test_other_code_has_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ddpm_core", "flows", "infra"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""Ours."""\n')
    places = {name: type("Spec", (), {"submodule_search_locations": [str(tmp_path / name)]}) for name in node._OURS}
    monkeypatch.setattr(node.importlib.util, "find_spec", places.__getitem__)
    before = code_digest()
    assert code_digest() == before
    (tmp_path / "infra" / "new.py").write_text("")
    assert code_digest() != before
    (tmp_path / "infra" / "new.py").unlink()
    (tmp_path / "flows" / "__init__.py").write_text('"""Theirs."""\n')
    assert code_digest() != before
