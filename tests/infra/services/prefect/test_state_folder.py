"""The folder of a root's database: one process has it, and a note in it is believed only if a server confirms it."""

import json
from pathlib import Path

import pytest

from infra.errors import ConfigError, ConflictError
from infra.services.prefect.api import prefect_api
from infra.services.prefect.state_folder import announcement, conflict, neighbour_api, state_folder
from tests.infra.services.prefect.conftest import Serving


def test_a_root_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    root = str(tmp_path)
    with state_folder(root) as (first, mine), state_folder(root) as (second, too):
        assert (mine, too) == (True, False)
        assert first == second
    with state_folder(root) as (third, mine):
        assert (third, mine) == (first, True)
    with state_folder(str(tmp_path / "other")) as (fourth, _):
        assert fourth != first


def test_a_folder_that_cannot_be_written_is_no_neighbours(
    no_settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/x")
    with pytest.raises(ConfigError, match=r"folder /proc/x/ddpm-flows/prefect-\w+: cannot be written .* set XDG_CACHE"):
        prefect_api(str(tmp_path), say=print, serve=True).__enter__()
    with state_folder(str(tmp_path)) as (_, mine):
        assert not mine, "a run takes a temporary one"


def test_a_neighbour_that_is_gone_is_not_believed(no_settings: Path, serving: Serving, tmp_path: Path) -> None:
    """A note about a server counts only if the one that answers there says that it is the same."""
    root, said = str(tmp_path / "root"), []
    with state_folder(root) as (folder, _):
        for mark in ("", "of-another"):
            about = {"url": serving.api.url, "identity": mark, "pid": 1}
            (folder / "serving.json").write_text(json.dumps(about))
            with pytest.raises(ConflictError, match="a `ddpm run`, which has a server of its own"):
                prefect_api(root, say=said.append, serve=True).__enter__()


def test_a_note_stands_as_long_as_its_server(serving: Serving, tmp_path: Path) -> None:
    with announcement(tmp_path, serving.api.url):
        assert neighbour_api(tmp_path) == serving.api.url
    assert neighbour_api(tmp_path) == ""


@pytest.mark.parametrize("text", ["", "[]", "{", '{"url": 3}'])
def test_a_damaged_note_names_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "serving.json").write_text(text)
    assert neighbour_api(tmp_path) == ""


@pytest.mark.parametrize(
    ("neighbour", "by", "way"),
    [
        ("http://127.0.0.1:4200/api", "another `ddpm serve` at http://127.0.0.1:4200", "use that one"),
        ("", "a `ddpm run`", "wait for it to end"),
    ],
)
def test_a_conflict_says_who_has_the_root_and_the_way_on(neighbour: str, by: str, way: str) -> None:
    error = conflict("/runs", neighbour)
    assert by in error.cause
    assert error.remedy.startswith(way)
    assert error.exit_code == 5
