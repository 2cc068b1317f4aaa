"""A training that goes on with another number of workers takes the same images, timesteps and noise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from flows.stages.train.assignment import Assignment
from flows.stages.train.batches import Batch
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.worker import TrainingWorker
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors
from tests.flows.stages.train.bench import STEP, Bench

HALF, GOAL = 10 * STEP, 20 * STEP


def run_recording(worker: TrainingWorker) -> list[Tensor]:
    """Run to the goal; return the images, t, eps and flips of every step, [steps, b, ...] each."""
    step, taken = worker.step, []

    def stepping(model: nn.Module, batch: Batch) -> Any:
        taken.append((batch.images, *batch.noise))
        return step(model, batch)

    worker.step = stepping
    worker.run()
    return [torch.stack(column) for column in zip(*taken, strict=True)]


def run_rank(rank: int, values: dict[str, Any], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        worker = TrainingWorker(Assignment.from_json(values))
        worker.resume()
        torch.save([torch.tensor(worker.resumed_at), *run_recording(worker)], f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def weights(output: Output, folder: str, images_seen: int) -> dict[str, Tensor]:
    return decode_tensors(bytes(output.read(output.record(f"{folder}/{images_seen:012d}"))), "")[0]


@pytest.mark.slow
def test_one_worker_then_two(bench: Bench, config: TrainConfig, tmp_path: Path) -> None:
    """Both go on from the same checkpoint of one worker; the second half has one worker or two."""
    config = config.model_copy(update={"learning_rate": 1e-4, "history_images": STEP})
    one, two = bench.train("one", config, HALF), bench.train("two", config, HALF)
    alone = run_recording(bench.worker(one, config, GOAL))
    goal = config.model_copy(update={"images": GOAL})
    values = json.loads(json.dumps(Assignment(config=goal, dataset=bench.dataset, output=two).as_json()))
    torch.multiprocessing.spawn(run_rank, (values, str(tmp_path)), nprocs=2)
    (at, *first), (at_too, *second) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert int(at) == int(at_too) == HALF
    for whole, even, odd in zip(alone, first, second, strict=True):
        assert torch.equal(whole[:, 0::2], even), "rank r has every second slot from r on"
        assert torch.equal(whole[:, 1::2], odd)
    ours, theirs = history_rows(one), history_rows(two)
    assert [row["images_seen"] for row in theirs] == [row["images_seen"] for row in ours]
    assert [row["loss"] for row in theirs] == pytest.approx([row["loss"] for row in ours], rel=1e-4)
    for folder in (SNAPSHOTS, CHECKPOINTS):
        after, after_too = weights(one, folder, GOAL), weights(two, folder, GOAL)
        assert after.keys() == after_too.keys()
        for name, value in after.items():
            assert torch.allclose(value.float(), after_too[name].float(), atol=2e-5), name
        before = weights(one, folder, HALF)
        moved = sum(int((after[name] != before[name]).sum()) for name in before)
        assert moved > 1000
