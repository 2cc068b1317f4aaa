"""A snapshot that is damaged before its goal is sealed is made again; what was sealed comes out as it was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import flows.stages.train.commits as commits_module
import flows.stages.train.step as step_module
from flows.artifacts import Snapshot
from flows.stages.train.config import TrainConfig
from flows.stages.train.training import train
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest, verify
from tests.conftest import TinyRun
from tests.flows.stages.train.bench import STEP

GOAL = 4 * STEP


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(tiny_run: TinyRun, config: TrainConfig, said: list[str]) -> Callable[[int], Manifest]:
    """Train to a goal with points two steps apart."""

    def call(images: int) -> Manifest:
        changed = config.model_copy(update={"images": images, "watch_images": 2 * STEP})
        snapshot: Snapshot = train(changed, tiny_run.dataset, replace(tiny_run.context, say=said.append))
        return snapshot.manifest(tiny_run.store)

    return call


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images seen before each step that is made."""
    made: list[int] = []
    honest = step_module.learning_rate
    monkeypatch.setattr(step_module, "learning_rate", lambda seen, **more: (made.append(seen), honest(seen, **more))[1])
    return made


def unseal(tiny_run: TinyRun, manifest: Manifest) -> Path:
    """Forget that a goal was sealed; return the file of its snapshot."""
    tiny_run.store.delete(manifest.name)
    return tiny_run.root / manifest.folder / manifest.units[0]["file"]


@pytest.mark.parametrize("damage", ["garbage", "gone", "record"])
def test_the_snapshot_of_a_goal_is_made_again_without_a_step(
    tiny_run: TinyRun, run: Callable[[int], Manifest], said: list[str], steps: list[int], damage: str
) -> None:
    sealed = run(GOAL)
    file = unseal(tiny_run, sealed)
    match damage:
        case "garbage":
            file.write_bytes(b"garbage")
        case "gone":
            file.unlink()
        case "record":
            (file.parent / f"{GOAL:012d}.json").write_bytes(b"")
    steps.clear()
    again = run(GOAL)
    assert (again.digest, again.units, steps) == (sealed.digest, sealed.units, [])
    verify(tiny_run.store, again)
    (line,) = said
    assert str(file.name).split(".")[0] in line
    assert "made again" in line


def test_a_point_that_a_longer_run_sealed_comes_out_as_it_was(
    tiny_run: TinyRun, run: Callable[[int], Manifest], steps: list[int]
) -> None:
    longer = run(GOAL)
    point = run(2 * STEP)
    unseal(tiny_run, point).write_bytes(b"garbage")
    steps.clear()
    again = run(2 * STEP)
    assert steps == [0, STEP]
    assert again.digest == point.digest
    for manifest in (again, longer):
        for entry in (*manifest.units, *manifest.facts["points"]):
            assert (tiny_run.root / manifest.folder / entry["file"]).stat().st_size == entry["bytes"]


def test_one_that_comes_out_otherwise_is_an_error(
    tiny_run: TinyRun, run: Callable[[int], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as on another machine; nothing is sealed that contradicts what was."""
    run(GOAL)
    point = run(2 * STEP)
    unseal(tiny_run, point).write_bytes(b"garbage")
    honest = commits_module.encode_snapshot
    monkeypatch.setattr(commits_module, "encode_snapshot", lambda *of, **more: honest(*of, **more) + b" ")
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"came out with other bytes.*restore it from a copy"):
            run(2 * STEP)
        assert not tiny_run.store.exists(point.name)


def test_other_damage_is_an_error_as_before(tiny_run: TinyRun, run: Callable[[int], Manifest]) -> None:
    """A shard of the data set: no snapshot is at fault."""
    run(STEP)
    manifest = tiny_run.dataset.manifest(tiny_run.store)
    for unit in manifest.units:
        (tiny_run.root / manifest.folder / unit["file"]).write_bytes(b"garbage")
    with pytest.raises(IntegrityError, match="differs from its digest"):
        run(GOAL)
