"""Every point of a run is a sealed goal of its own, with the bytes of a run that ended there."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from flows.artifacts import Snapshot
from flows.stages.train import training
from flows.stages.train.averages import SIGMA_RELS
from flows.stages.train.config import TrainConfig
from flows.stages.train.training import train
from infra.outputs.manifest import read_verified, verify
from tests.conftest import TinyRun
from tests.flows.stages.train.bench import STEP

GOAL = 8 * STEP


@pytest.fixture
def run(tiny_run: TinyRun, config: TrainConfig) -> Callable[..., Snapshot]:
    """Train to a goal; points are two steps apart."""

    def call(images: int, *, force: bool = False, **more: object) -> Snapshot:
        changed = config.model_copy(update={"images": images, "watch_images": 2 * STEP} | more)
        return train(changed, tiny_run.dataset, replace(tiny_run.context, force=force))

    return call


def test_a_point_is_the_goal_of_a_shorter_run(tiny_run: TinyRun, run: Callable[..., Snapshot]) -> None:
    longer = run(GOAL)
    point = run(4 * STEP)
    assert point.reused
    assert (point.key, point.images_seen) == (longer.key, 4 * STEP)
    manifest = point.manifest(tiny_run.store)
    verify(tiny_run.store, manifest)
    assert "/points/" in f"/{manifest.units[0]['file']}"
    assert all(row["images_seen"] <= 4 * STEP for row in manifest.facts["history"])
    shorter = run(4 * STEP, force=True)
    assert not shorter.reused
    assert shorter.digest == point.digest


def test_a_point_that_was_not_sealed_needs_no_training(
    tiny_run: TinyRun, run: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver ended between the commit and the seal."""
    run(GOAL)
    point = run(4 * STEP)
    earlier = run(2 * STEP)
    for left in (earlier, point):
        tiny_run.store.delete(left.name)

    def refuse(*_: object) -> None:
        pytest.fail("it trained")

    monkeypatch.setattr(training, "run_training", refuse)
    again = run(4 * STEP - 3)
    assert not again.reused, "a goal within the point's last step"
    assert (again.digest, again.images_seen) == (point.digest, 4 * STEP)
    assert tiny_run.store.exists(earlier.name), "one before it is sealed too"


def test_a_damaged_point_is_left_out_and_said(tiny_run: TinyRun, config: TrainConfig) -> None:
    said: list[str] = []
    config = config.model_copy(update={"images": GOAL, "watch_images": 2 * STEP})
    context = replace(tiny_run.context, say=said.append)
    folder = train(config, tiny_run.dataset, context).manifest(tiny_run.store).folder
    tiny_run.store.delete(f"{folder}/manifests/images-{4 * STEP}.json")
    (file,) = (tiny_run.root / folder / "points").glob(f"{4 * STEP:012d}.*.safetensors")
    file.write_bytes(b"")
    longer = config.model_copy(update={"images": GOAL + STEP})
    assert train(longer, tiny_run.dataset, context).images_seen == GOAL + STEP
    assert len(said) == 1
    assert "not sealed" in said[0]


def test_damage_beside_the_snapshots_is_left_out_and_said_once(tiny_run: TinyRun, config: TrainConfig) -> None:
    """A row of the history, a record of averages, of figures and of a point: no weights depend on them."""
    said: list[str] = []
    config = config.model_copy(update={"images": GOAL, "watch_images": 2 * STEP, "history_images": STEP})
    context = replace(tiny_run.context, say=said.append)
    folder = train(config, tiny_run.dataset, context).manifest(tiny_run.store).folder
    damaged = {"history": 3, "averages": 2, "watch": 4, "points": 6}
    for name, steps in damaged.items():
        tiny_run.store.replace(f"{folder}/{name}/{steps * STEP:012d}.json", b"")
    tiny_run.store.delete(f"{folder}/manifests/images-{6 * STEP}.json")
    longer = config.model_copy(update={"images": GOAL + STEP})
    facts = train(longer, tiny_run.dataset, context).manifest(tiny_run.store).facts
    assert [row["images_seen"] // STEP for row in facts["history"]] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert [entry["images_seen"] // STEP for entry in facts["averages"]] == [4, 6, 8, 9]
    assert [(point["images_seen"] // STEP, "watch" in point) for point in facts["points"]] == [
        (2, False), (4, False), (8, False), (9, False)
    ]  # fmt: skip
    for name, steps in damaged.items():
        lines = [line for line in said if f"{folder}/{name}/{steps * STEP:012d}.json" in line]
        assert len(lines) == len({*lines}) > 0, name


def test_a_longer_run_goes_on_after_its_points(run: Callable[..., Snapshot]) -> None:
    run(4 * STEP)
    assert run(GOAL).digest == run(GOAL, force=True).digest


def test_the_facts_name_points_and_averages(tiny_run: TinyRun, run: Callable[..., Snapshot]) -> None:
    manifest = run(GOAL).manifest(tiny_run.store)
    points, averages = manifest.facts["points"], manifest.facts["averages"]
    assert [point["images_seen"] // STEP for point in points] == [2, 4, 6, 8]
    assert [(entry["images_seen"] // STEP, entry["steps"]) for entry in averages] == [(2, 2), (4, 4), (6, 6), (8, 8)]
    assert all(entry["sigma_rels"] == list(SIGMA_RELS) for entry in averages)
    for entry in (*points, *averages):
        assert len(read_verified(tiny_run.store, manifest.folder, entry)) == entry["bytes"]
