"""The network through torch.compile: train step and forward pass."""

from functools import partial
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import counters

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sample import predict_in
from benchmarks.gpu.setting import BFLOAT16, Precision, Setting, flags_of
from benchmarks.gpu.timing import seconds_once, timed
from benchmarks.gpu.training import Training
from ddpm_core.train_step import train_step


def compiled(bench: Bench, precision: Precision) -> None:
    """The product's step with the network compiled; for bfloat16 also sampling, and the whole step as one graph."""
    batch = bench.setting.train_batches[0]
    bench.attempt(f"train step, batch {batch}, {precision.name}", partial(_train, bench, batch, precision))
    if precision is BFLOAT16:
        for few in bench.setting.sample_batches[:1]:
            bench.attempt(f"forward, batch {few}, {precision.name}", partial(_forward, bench, few, precision))
        bench.attempt("train_step as one graph", partial(_one_graph, bench, batch, precision))


def _backend(setting: Setting) -> str:
    # The toy only traces: generating code takes a minute and a compiler.
    return "aot_eager" if setting.toy else "inductor"


def _train(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    torch._dynamo.reset()
    counters.clear()
    training = Training(bench.setting, batch, precision)
    with flags_of(precision):
        eager = timed(bench.setting, training.step, target_s=0.5)
        training.model = torch.compile(training.network, backend=_backend(bench.setting))
        compiling_s = seconds_once(bench.setting, training.step)
        times = timed(bench.setting, training.step)
    return (
        times.row()
        | bench.rates(precision, times.ms, batch, "train")
        | {
            "eager_ms": eager.ms,
            "faster": eager.ms / times.ms,
            "first_step_s": compiling_s,
            "graph_breaks": sum(counters["graph_break"].values()),
        }
    )


def _forward(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    torch._dynamo.reset()
    setting = bench.setting
    eager = predict_in(setting, precision)
    fast = torch.compile(eager, backend=_backend(setting))
    x_t = torch.randn(batch, *setting.shape, device=setting.device)
    t = torch.randint(0, 1000, (batch,), device=setting.device)
    with flags_of(precision), torch.no_grad():
        before = timed(setting, lambda: eager(x_t, t), target_s=0.5)
        compiling_s = seconds_once(setting, lambda: fast(x_t, t))
        times = timed(setting, lambda: fast(x_t, t))
    rates = bench.rates(precision, times.ms, batch, "forward")
    return times.row() | rates | {"eager_ms": before.ms, "faster": before.ms / times.ms, "first_step_s": compiling_s}


def _one_graph(bench: Bench, batch: int, precision: Precision) -> dict[str, Any]:
    """Trace only: whether `train_step` as it stands can be one graph, and if not, why."""
    torch._dynamo.reset()
    training = Training(bench.setting, batch, precision)
    images, slots = training.data()
    noise = training.noise(slots)
    whole = torch.compile(train_step, fullgraph=True, backend="eager")
    try:
        whole(training.model, training.optimizer, training.schedule, images, noise, training.config)
    except TorchDynamoException as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"note": "no: " + " ".join(lines[:3])[:250]}
    return {"note": "yes"}
