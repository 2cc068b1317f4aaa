"""Checkpoints: which are kept, and that training goes on from them as if it had never stopped."""

import pytest
import torch

from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from infra.errors import IntegrityError
from tests.flows.stages.train.bench import Bench, kept, snapshot


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_resumed_is_bit_equal_to_undisturbed(bench: Bench, config: TrainConfig, dropout: float) -> None:
    config = config.model_copy(update={"dropout": dropout})
    straight, resumed = bench.train("straight", config, 320), bench.train("resumed", config, 160, 320)
    assert snapshot(straight, 320) == snapshot(resumed, 320)
    assert snapshot(resumed, 160) != snapshot(resumed, 320)
    end = f"{CHECKPOINTS}/{320:012d}"
    one, other = straight.record(end), resumed.record(end)
    assert one is not None
    assert one == other, "moments, weights and counters too"


def test_the_resumed_run_trains_only_what_is_left(bench: Bench, config: TrainConfig) -> None:
    output = bench.train("a", config, 160)
    assert bench.worker(output, config, 320).state.images_seen == 160
    assert bench.worker(output, config, 150).state.images_seen == 160, "150 are 160 in whole steps"
    assert bench.worker(output, config, 80).state.images_seen == 80
    assert bench.worker(output, config, 16).state.images_seen == 0, "never beyond the goal"


def test_a_shorter_run_after_a_longer_one(bench: Bench, config: TrainConfig) -> None:
    longer, shorter = bench.train("longer first", config, 320, 160), bench.train("alone", config, 160)
    assert snapshot(longer, 160) == snapshot(shorter, 160)


@pytest.mark.parametrize("place", ["first byte", "middle", "last byte", "cut", "gone", "empty", "record"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(bench: Bench, config: TrainConfig, place: str) -> None:
    output = bench.train("damaged", config, 160)
    assert kept(output, CHECKPOINTS) == [80, 160]
    file = bench.path(output, f"{CHECKPOINTS}/{160:012d}")
    data = bytearray(file.read_bytes())
    match place:
        case "gone":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(data[:-1])
        case "record":
            (file.parent / f"{160:012d}.json").write_bytes(b"{")
        case _:
            data[{"first byte": 0, "middle": len(data) // 2, "last byte": -1}[place]] ^= 1
            file.write_bytes(data)
    assert bench.worker(output, config, 320).state.images_seen == 80


def test_after_falling_back_the_weights_are_the_same(bench: Bench, config: TrainConfig) -> None:
    config = config.model_copy(update={"keep_checkpoints": 9})
    output = bench.train("damaged", config, 160)
    file = bench.path(output, f"{CHECKPOINTS}/{160:012d}")
    file.write_bytes(file.read_bytes()[:-1])
    bench.worker(output, config, 320).run()
    assert snapshot(output, 320) == snapshot(bench.train("straight", config, 320), 320)


def test_all_checkpoints_damaged_it_starts_again(bench: Bench, config: TrainConfig) -> None:
    output = bench.train("damaged", config, 160)
    before = snapshot(output, 160)
    for images in (80, 160):
        bench.path(output, f"{CHECKPOINTS}/{images:012d}").write_bytes(b"")
    worker = bench.worker(output, config, 160)
    assert worker.state.images_seen == 0
    worker.run()
    assert snapshot(output, 160) == before


def test_a_checkpoint_that_goes_while_it_is_loaded(bench: Bench, config: TrainConfig) -> None:
    output = bench.train("a", config, 80)
    with pytest.raises(IntegrityError, match="run again"):
        bench.worker(output, config, 80).checkpoints.load(999)


@pytest.mark.parametrize(("keep", "expected"), [(1, [320]), (2, [240, 320]), (9, [80, 160, 240, 320])])
def test_old_checkpoints_are_dropped(bench: Bench, config: TrainConfig, keep: int, expected: list[int]) -> None:
    config = config.model_copy(update={"keep_checkpoints": keep})
    assert kept(bench.train("a", config, 320), CHECKPOINTS) == expected


def test_those_at_goals_are_kept(bench: Bench, config: TrainConfig) -> None:
    config = config.model_copy(update={"keep_checkpoints": 1})
    output = bench.train("a", config, 80, 160, 320)
    assert kept(output, CHECKPOINTS) == [80, 160, 320]
    assert kept(output, SNAPSHOTS) == [80, 160, 320]


def test_checkpoints_come_when_a_multiple_is_crossed(bench: Bench, config: TrainConfig) -> None:
    """Steps of 16 cross multiples of 25 at 32, 64 (50), 80 (75), ...; the end always gets one."""
    config = config.model_copy(update={"checkpoint_images": 25, "keep_checkpoints": 99})
    assert kept(bench.train("a", config, 112), CHECKPOINTS) == [32, 64, 80, 112]
    assert kept(bench.train("b", config, 48), CHECKPOINTS) == [32, 48]


def test_cadence_of_checkpoints_and_history_changes_nothing(bench: Bench, config: TrainConfig) -> None:
    often = config.model_copy(update={"checkpoint_images": 16, "history_images": 16, "keep_checkpoints": 1})
    seldom = config.model_copy(update={"checkpoint_images": 10**6, "history_images": 10**6})
    assert snapshot(bench.train("often", often, 160), 160) == snapshot(bench.train("seldom", seldom, 160), 160)


def test_a_checkpoint_holds_all_of_the_state(bench: Bench, config: TrainConfig) -> None:
    output = bench.output("a")
    worker = bench.worker(output, config, 80)
    worker.run()
    other = bench.worker(output, config, 80)
    assert other.state.images_seen == 80
    expected, got = worker.state.tensors(), other.state.tensors()
    assert got.keys() == expected.keys()
    kinds = {name.split(".")[0] for name in got}
    assert kinds == {"network", "ema", "optimizer", "averages"}
    parameters = len(list(worker.state.network.parameters()))
    assert sum(name.endswith(".exp_avg") for name in got) == parameters
    assert sum(name.endswith(".exp_avg_sq") for name in got) == parameters
    assert sum(name.endswith(".step") for name in got) == parameters
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name
    assert any(
        not torch.equal(got[f"network.{n}"], got[f"ema.{n}"]) for n, _ in worker.state.network.named_parameters()
    )
