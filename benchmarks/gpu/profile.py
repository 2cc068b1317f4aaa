"""The number of kernels that a train step and a sampling step launch, and the time that the GPU works in them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sample import ancestral_steps
from benchmarks.gpu.setting import BFLOAT16, FLOAT32, Precision, flags_of
from benchmarks.gpu.timing import seconds_once, timed
from benchmarks.gpu.training import Training


def profile(bench: Bench) -> None:
    """One step of each; the longest kernels go to gpu-profile.txt."""
    batch = bench.setting.train_batches[0]
    for precision in (BFLOAT16, FLOAT32):
        training = Training(bench.setting, batch, precision)
        bench.attempt(
            f"train step, batch {batch}, {precision.name}", partial(_kernels, bench, training.step, precision)
        )
    _, slots = training.data()
    noise = partial(training.noise, slots)
    bench.attempt(f"noise of a train step, batch {batch}", partial(_kernels, bench, noise, FLOAT32))
    del training, noise
    few = bench.setting.sample_batches[0]
    sampling = ancestral_steps(bench.setting, few, BFLOAT16)
    bench.attempt(f"5 ancestral steps, batch {few}, bfloat16", partial(_kernels, bench, sampling, BFLOAT16))


def _kernels(bench: Bench, call: Callable[[], object], precision: Precision) -> dict[str, Any]:
    setting = bench.setting
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.cuda else [])]
    with flags_of(precision):
        times = timed(setting, call, target_s=0.3)
        with torch_profile(activities=activities) as recorded:
            seconds_once(setting, call)
    on_device = DeviceType.CUDA if setting.cuda else DeviceType.CPU
    kernels = [
        e for e in recorded.events() or [] if e.device_type == on_device and not getattr(e, "is_user_annotation", False)
    ]
    order = "self_device_time_total" if setting.cuda else "self_cpu_time_total"
    table = recorded.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=70)
    with (bench.folder / "gpu-profile.txt").open("a") as file:
        file.write(f"== {precision.name}, {times.ms:.2f} ms\n{table}\n")
    if not setting.cuda:
        return {"ms": times.ms, "calls": len(kernels), "note": "calls of operators, on a processor"}
    busy_ms = sum(e.time_range.elapsed_us() for e in kernels) / 1e3
    memory = sum(e.time_range.elapsed_us() for e in kernels if e.name.startswith("Mem")) / 1e3
    return {
        "ms": times.ms,
        "kernels": len(kernels),
        "busy_ms": busy_ms,
        "busy_share": busy_ms / times.ms,
        "of_it_copies_ms": memory,
    }
