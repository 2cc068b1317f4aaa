"""Progress: a bar on a terminal, plain lines elsewhere, and a UI told now and then."""

from io import StringIO

import pytest
from rich.console import Console

from flows.progress import StageProgress


def console(*, terminal: bool) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=80, legacy_windows=False)


def shown(on: Console) -> str:
    assert isinstance(on.file, StringIO)
    return on.file.getvalue()


def test_elsewhere_than_on_a_terminal_there_is_one_line_a_stage() -> None:
    target = console(terminal=False)
    with StageProgress(target, None) as progress:
        for done in range(1, 11):
            progress("train", done, 10)
        progress.finished("train", "640 images seen; sealed after 3 s; digest abc")
    assert shown(target).strip() == "train 640 images seen; sealed after 3 s; digest abc"


def test_on_a_terminal_a_bar_counts() -> None:
    target = console(terminal=True)
    with StageProgress(target, None) as progress:
        progress("train", 3, 10)
        progress("sample", 10, 10)
    assert "train" in shown(target)
    assert "3/10" in shown(target)
    assert "10/10" in shown(target)


def test_the_ui_is_told_the_first_the_last_and_few_between() -> None:
    told: list[tuple[str, float]] = []
    with StageProgress(console(terminal=False), lambda *what: told.append(what), every_s=60) as progress:
        for done in range(1, 101):
            progress("train", done, 100)
    assert told[-1] == ("train", 100)
    assert len(told) <= 2


def test_the_ui_is_told_each_time_where_it_wants_to_be() -> None:
    told: list[tuple[str, float]] = []
    with StageProgress(console(terminal=False), lambda *what: told.append(what), every_s=0) as progress:
        for done in (1, 2, 4):
            progress("train", done, 4)
    assert told == [("train", 25), ("train", 50), ("train", 100)]


def test_the_terminal_is_given_back_when_a_stage_fails() -> None:
    target = console(terminal=True)

    def fail() -> None:
        with StageProgress(target, None) as progress:
            progress("train", 1, 2)
            raise RuntimeError("stage failed")

    with pytest.raises(RuntimeError, match="stage failed"):
        fail()
    assert shown(target).rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
