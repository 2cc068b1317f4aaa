"""Batches that are drawn ahead are those of the steps, in order; their errors and their end are those of the loop."""

import threading
import time

import pytest
import torch

from ddpm_core.training_order import training_noise
from flows.stages.train.batches import Batch, Batches, batches_ahead
from flows.stages.train.config import TrainConfig
from tests.flows.stages.train.bench import STEP, Bench, snapshot

STEPS = range(0, 20 * STEP, STEP)


def draw(images_seen: int) -> Batch:
    slots = torch.arange(images_seen, images_seen + STEP)
    noise = training_noise(3, slots, 20, (1, 8, 8))
    return Batch(torch.zeros(STEP, 1, 8, 8, dtype=torch.uint8), slots, noise)


def await_true(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_each_step_gets_its_own_batch(ahead: int) -> None:
    with Batches(draw, STEPS, ahead) as batches:
        for images_seen in STEPS:
            batch = batches.take(images_seen)
            expected = draw(images_seen)
            assert torch.equal(batch.labels, expected.labels)
            assert torch.equal(batch.noise.eps, expected.noise.eps)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_training_is_the_same_however_far_ahead_it_draws(
    bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr("flows.stages.train.worker.batches_ahead", lambda *_: ahead)
    output = bench.train_anew(bench.output(f"ahead {ahead}"), config, 160)
    assert snapshot(output, 160) == snapshot(bench.train("alone", config, 160), 160)


def test_no_more_than_asked_for_are_held() -> None:
    drawn: list[int] = []
    with Batches(lambda seen: drawn.append(seen) or draw(seen), STEPS, ahead=2) as batches:
        await_true(lambda: len(drawn) == 2)
        time.sleep(0.05)
        assert len(drawn) == 2
        batches.take(0)
        await_true(lambda: len(drawn) == 3)


def test_an_error_comes_after_the_batches_before_it() -> None:
    def broken(images_seen: int) -> Batch:
        if images_seen == 2 * STEP:
            raise OSError("a file is gone")
        return draw(images_seen)

    with Batches(broken, STEPS, ahead=2) as batches:
        batches.take(0)
        batches.take(STEP)
        for _ in range(2):
            with pytest.raises(OSError, match="a file is gone"):
                batches.take(2 * STEP)


@pytest.mark.parametrize("taken", [0, 3])
def test_the_thread_ends_with_the_block(taken: int) -> None:
    before = threading.active_count()

    def fail() -> None:
        with Batches(draw, STEPS, ahead=2) as batches:
            for images_seen in STEPS[:taken]:
                batches.take(images_seen)
            assert threading.active_count() == before + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert threading.active_count() == before


def test_a_step_out_of_order_is_a_bug() -> None:
    with Batches(draw, STEPS, ahead=1) as batches, pytest.raises(AssertionError, match="not 160"):
        batches.take(160)


def test_a_batch_past_the_last_one_is_a_bug_and_no_wait() -> None:
    with Batches(draw, STEPS[:1], ahead=2) as batches:
        batches.take(0)
        with pytest.raises(AssertionError, match="every batch was taken"):
            batches.take(STEP)


def test_a_thread_draws_if_both_it_and_the_steps_have_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("flows.stages.train.batches.usable_cores", lambda: 4)
    assert [batches_ahead(cpu, threads) for threads in (1, 2, 3, 4)] == [2, 2, 0, 0]
    assert batches_ahead(torch.device("cuda", 0), 4) == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert [batches_ahead(cpu, threads) for threads in (1, 2)] == [2, 0]
