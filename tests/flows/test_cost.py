"""The cost of an output is the sum over the attempts that led to it, and says what it does not know."""

from dataclasses import replace

from flows.cost import StageCost, cost_from_json, cost_table, sealed_bytes, stage_cost
from infra.outputs.costs import Attempt
from tests.conftest import TinyRun

FIRST = Attempt(
    stage="train", run="digits-1a2b3c4d", output="train/ab", unit="images", done=640, wall_s=10.0, cpu_s=20.0, retries=1
)
STOPPED = replace(FIRST, outcome="stopped")
SECOND = replace(
    FIRST, outcome="sealed", start=640, done=1280, wall_s=6.0, cpu_s=12.0, gpu_s=7200.0, output_bytes=3 << 20
)


def cost(*attempts: Attempt, images: int = 1280) -> StageCost:
    found = stage_cost(attempts, "train/ab", {"images": images})
    assert found is not None
    return found


def test_attempts_add_up() -> None:
    found = cost(STOPPED, SECOND)
    assert (found.attempts, found.amount, found.wall_s, found.cpu_s, found.gpu_s) == (2, 1280, 16.0, 32.0, 7200.0)
    assert (found.retries, found.bytes, found.rate, found.at_least) == (2, 3 << 20, 80.0, False)
    assert found.metrics["cost/train/wall_s"] == 16.0
    assert found.metrics["cost/train/images_per_second"] == 80.0


def test_an_attempt_that_was_killed_makes_the_sum_a_bound() -> None:
    assert cost(FIRST, SECOND).at_least
    assert cost(FIRST, SECOND).cells()["wall time"] == "at least 16.0 s"
    table = cost_table([cost(FIRST, SECOND)])
    assert table is not None
    assert table["killed"]


def test_a_longer_run_is_no_cost_of_a_shorter_one() -> None:
    shorter = replace(STOPPED, outcome="sealed")
    assert cost(shorter, SECOND, images=640) == cost(shorter, images=640)
    assert cost(shorter, SECOND).attempts == 2


def test_the_size_is_that_of_the_goal_itself() -> None:
    """A longer run seals more: also one that passed the shorter goal before anybody asked for that."""
    longer = replace(SECOND, start=0, goal={"images": 1280})
    shorter = replace(SECOND, start=640, done=640, goal={"images": 640}, output_bytes=1 << 20)
    for attempts in ((longer, shorter), (shorter, longer)):
        assert cost(*attempts, images=640).bytes == 1 << 20
        assert cost(*attempts).bytes == 3 << 20
    assert cost(longer, images=640).bytes == 0, "nobody has measured it"


def test_other_outputs_of_the_same_settings_are_apart() -> None:
    forced = replace(SECOND, output="train/ab.1", forced=True)
    assert cost(STOPPED, SECOND, forced) == cost(STOPPED, SECOND)
    begun = replace(STOPPED, output="")
    assert cost(begun, SECOND).attempts == 2, "the output was not known yet"
    assert cost(replace(begun, forced=True), SECOND).attempts == 1
    assert stage_cost([forced], "train/ab", {"images": 1280}) is None


def test_columns_that_nobody_fills_are_left_out() -> None:
    table = cost_table([cost(STOPPED, replace(SECOND, gpu_s=0.0))])
    assert table is not None
    assert table["columns"] == ["stage", "wall time", "work", "per second", "CPU h", "attempts", "retries", "size"]
    assert table["rows"] == [["train", "16.0 s", "1,280 images", "80 images/s", "0.00889", "2", "2", "3.0 MiB"]]
    assert cost_table([]) is None


def test_json_and_back() -> None:
    found = cost(STOPPED, SECOND)
    assert cost_from_json(found.as_json()) == found
    assert cost_from_json({}) is None
    assert cost_from_json(found.as_json() | {"wall_s": "long"}) is None


def test_the_size_is_that_of_the_files(tiny_run: TinyRun) -> None:
    manifest = tiny_run.samples.manifest(tiny_run.store)
    files = [tiny_run.root / manifest.folder / unit["file"] for unit in manifest.units]
    assert sealed_bytes(manifest, tiny_run.store) == sum(file.stat().st_size for file in files)
    figures = tiny_run.figures.manifest(tiny_run.store)
    assert sealed_bytes(figures, tiny_run.store) > sum(unit["bytes"] for unit in figures.units), "with the features"
