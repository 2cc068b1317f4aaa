"""A context is handed around as it is; whoever wants to hear of progress says so."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from flows.stage import Context, Progress
from infra.compute.cluster import Cluster


def test_by_default_nobody_is_told_and_nothing_is_forced(make_context: Callable[..., Context]) -> None:
    context = make_context()
    assert context.force is False
    assert context.on_progress(Progress(done=1, total=2)) is None
    assert context.on_history([{"loss": 1.0}]) is None
    with context.lease("train/0123") as nothing:
        assert nothing is None


def test_it_is_frozen_and_replaced(make_context: Callable[..., Context], tmp_path: Path) -> None:
    told: list[Progress] = []
    context = make_context(tmp_path / "here")
    with pytest.raises(FrozenInstanceError):
        context.force = True
    other = replace(context, force=True, on_progress=told.append)
    other.on_progress(Progress(done=1, total=2))
    assert told == [Progress(done=1, total=2, start=0, kept=0, unit="images", loss=None, rate=None, phase="")]
    assert other.store is context.store
    assert Path(other.store.uri) == tmp_path / "here"


@pytest.mark.parametrize(("mode", "phase"), [("ray", "starting Ray"), ("in-process", "starting")])
def test_what_starts(make_context: Callable[..., Context], mode: str, phase: str) -> None:
    assert replace(make_context(), cluster=Cluster(mode=mode)).starting == phase
