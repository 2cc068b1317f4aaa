"""CUDA graphs: the train step and the sampler's forward pass without the host's part."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sample import predict_in
from benchmarks.gpu.setting import BFLOAT16, FLOAT16, FLOAT32, TF32, Precision, flags_of
from benchmarks.gpu.timing import timed
from benchmarks.gpu.training import Training
from ddpm_core.train_step import train_step

_LEFT_OUT = "data, noise and seed of dropout outside; rate and EMA factor fixed"


def graphs(bench: Bench) -> None:
    """Each as a graph beside the same calls without one."""
    if not bench.setting.cuda:
        bench.row("graphs", note="left out: they need CUDA")
        return
    few, many = bench.setting.train_batches[0], bench.setting.train_batches[-1]
    for precision in (BFLOAT16, FLOAT32):
        for batch in bench.setting.sample_batches[:2]:
            bench.attempt(f"forward, batch {batch}, {precision.name}", partial(_forward, bench, batch, precision))
        bench.attempt(f"train step, batch {few}, {precision.name}", partial(_train, bench, few, precision))
    for batch, precision in ((many, BFLOAT16), (few, TF32), (few, FLOAT16)):
        bench.attempt(f"train step, batch {batch}, {precision.name}", partial(_train, bench, batch, precision))


def _forward(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    setting = bench.setting
    predict = predict_in(setting, precision)
    x_t = torch.randn(batch, *setting.shape, device=setting.device)
    t = torch.randint(0, 1000, (batch,), device=setting.device)
    with flags_of(precision), torch.no_grad():
        return _graphed(bench, lambda: predict(x_t, t), precision, batch, "forward")


def _train(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    training = Training(bench.setting, batch, precision, capturable=True)
    images, slots = training.data()
    noise = training.noise(slots)

    def step() -> None:
        result = train_step(
            training.model,
            training.optimizer,
            training.schedule,
            images,
            noise,
            training.config,
            loss_scale=training.loss_scale,
        )
        training.average(result.applied)

    with flags_of(precision):
        return _graphed(bench, step, precision, batch, "train") | {"note": _LEFT_OUT}


def _graphed(bench: Bench, call: Callable[[], object], precision: Precision, batch: int, work: str) -> dict[str, Any]:
    eager = timed(bench.setting, call, target_s=0.5)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()
    times = timed(bench.setting, graph.replay, target_s=0.7)
    del kept, graph
    return (
        times.row()
        | bench.rates(precision, times.ms, batch, work)
        | {
            "eager_ms": eager.ms,
            "faster": eager.ms / times.ms,
        }
    )
