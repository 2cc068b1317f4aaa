"""A context is handed around as it is; whoever wants to hear of progress says so."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from flows.context import Context


def test_by_default_nobody_is_told_and_nothing_is_forced(make_context: Callable[..., Context]) -> None:
    context = make_context()
    assert context.force is False
    assert context.on_progress(1, 2) is None
    assert context.on_history([{"loss": 1.0}]) is None


def test_it_is_frozen_and_replaced(make_context: Callable[..., Context], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    context = make_context(tmp_path / "here")
    with pytest.raises(FrozenInstanceError):
        context.force = True
    other = replace(context, force=True, on_progress=lambda done, total: told.append((done, total)))
    other.on_progress(1, 2)
    assert told == [(1, 2)]
    assert other.store is context.store
    assert Path(other.store.uri) == tmp_path / "here"
