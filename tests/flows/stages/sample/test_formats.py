"""Number formats and memory of sampling."""

from collections.abc import Callable

import pytest
import torch

from flows.artifacts import Samples
from flows.stages.sample.config import SampleConfig
from flows.stages.sample.units import SampleTask
from infra.errors import ConfigError, DivergedError, ResourceError
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun


def task_of(run: TinyRun, config: SampleConfig, case: str, dtype: str) -> SampleTask:
    """The work of the tiny network in a format, into an output of the case's own."""
    trained = run.snapshot.manifest(run.store)
    plan = Plan(stage="sample", format_version=0, settings={case: dtype}, inputs={})
    return SampleTask(
        output=Output(store=run.store, plan=plan),
        config=config.model_copy(update={"dtype": dtype, "device": "cpu"}),
        snapshot_folder=trained.folder,
        snapshot=trained.units[0],
    )


def test_too_little_memory_is_one_line(
    tiny_run: TinyRun, config: SampleConfig, draw: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        torch.empty(1 << 60)

    monkeypatch.setattr("flows.stages.sample.units.Drawing.__call__", fail)
    with pytest.raises(ResourceError) as caught:
        draw(config.model_copy(update={"seed": 99}))
    assert caught.value.exit_code == 7
    assert str(caught.value).startswith("sample: memory ran out (")
    assert str(caught.value).endswith(" - set a smaller sample.batch_size")
    assert "batch_size" in SampleConfig.model_fields


@pytest.mark.parametrize(("dtype", "found"), [("float32", torch.float32), ("float16", torch.float16)])
def test_the_network_multiplies_in_the_number_format(
    tiny_run: TinyRun, config: SampleConfig, dtype: str, found: torch.dtype
) -> None:
    """A unit takes the format that it is given; the stage refuses float16 on a processor."""
    task = task_of(tiny_run, config, "dtype", dtype)
    seen: set[torch.dtype] = set()

    def note(_: object, __: object, output: torch.Tensor) -> None:
        seen.add(output.dtype)

    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda layer, *rest: note(layer, *rest) if isinstance(layer, torch.nn.Linear) else None
    )
    try:
        task.open()(0)
    finally:
        handle.remove()
    assert seen == {found}


@pytest.mark.parametrize("dtype", ["float16", "tf32"])
def test_a_format_of_gpus_is_refused_on_a_processor(
    config: SampleConfig, draw: Callable[..., Samples], dtype: str
) -> None:
    with pytest.raises(ConfigError, match=f"dtype: {dtype} is for GPUs"):
        draw(config.model_copy(update={"dtype": dtype, "device": "cpu"}))


@pytest.mark.parametrize(("dtype", "remedy"), [("float16", "set sample.dtype=float32"), ("float32", "learning_rate")])
def test_an_overflow_of_float16_is_no_fault_of_the_snapshot(
    tiny_run: TinyRun, config: SampleConfig, monkeypatch: pytest.MonkeyPatch, dtype: str, remedy: str
) -> None:
    task = task_of(tiny_run, config, "overflow", dtype)
    overflown = torch.full((config.batch_size, 1, 8, 8), torch.inf)
    monkeypatch.setattr("flows.stages.sample.units.Drawing.__call__", lambda *_: overflown)
    with pytest.raises(DivergedError, match=remedy):
        task.open()(1)
