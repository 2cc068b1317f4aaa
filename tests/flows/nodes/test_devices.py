"""Device and number format come from the nodes that work, lazily; what only a GPU can do is refused before any work."""

from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from flows.nodes.devices import check_device, environment_of, nodes_for, resolve, workers_of
from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.compute.cluster import Cluster
from infra.compute.hardware import Hardware
from infra.compute.units import Workers
from infra.errors import ConfigError, DdpmError, ResourceError
from tests.conftest import TinyRun
from tests.flows.sessions import opened, put_images, run_settings, small
from tests.hardware import CPU_NODE, H100_NODE, T4_NODE, node


def cluster_with(hardware: Hardware, mode: str = "in-process") -> Cluster:
    return Cluster(mode=mode, probe=lambda: hardware)


@pytest.mark.parametrize(
    ("hardware", "device", "dtype"),
    [
        (CPU_NODE, "cpu", "float32"),
        (node(bfloat16=True), "cpu", "bfloat16"),
        (T4_NODE, "cuda", "float16"),
        (H100_NODE, "cuda", "bfloat16"),
    ],
)
def test_auto_becomes_what_the_nodes_have(tiny: PipelineConfig, hardware: Hardware, device: str, dtype: str) -> None:
    config = tiny.train.model_copy(update={"device": "auto", "dtype": "auto", "threads": 2, "workers": 3})
    for group in (True, False):
        found = resolve(config, cluster_with(hardware), "train", pytest.fail, group=group)
        assert (found.device, found.dtype) == (device, dtype)
    assert workers_of(found) == Workers(count=3, cpus=2, gpus=1 if device == "cuda" else 0)
    assert nodes_for(config, cluster_with(hardware), "train", pytest.fail) == (
        config.model_copy(update={"device": device}),
        [hardware],
    )


def test_the_environment_is_of_the_nodes_and_the_settings(tiny: PipelineConfig) -> None:
    config = tiny.train.model_copy(update={"device": "cuda", "dtype": "float16", "compile": True})
    (found,) = environment_of("training", config, {"deterministic": "off"}).on([T4_NODE])
    assert found == {
        "device": "Tesla T4",
        "python": "3.11",
        "torch": "2.13",
        "compiler": "g++ 12",
        "dtype": "float16",
        "deterministic": "off",
    }


def unasked() -> Hardware:
    raise AssertionError("the hardware was asked for")


def test_what_is_sealed_is_found_without_asking(tiny_run: TinyRun) -> None:
    config = tiny_run.config
    elsewhere = Context(store=tiny_run.store, cluster=Cluster(address="127.0.0.1:1", probe=unasked))
    assert train(config.train, tiny_run.dataset, elsewhere).digest == tiny_run.snapshot.digest
    assert sample(config.sample, tiny_run.snapshot, elsewhere).digest == tiny_run.samples.digest


@pytest.mark.parametrize(
    ("hardware", "device", "dtype", "says"),
    [
        (CPU_NODE, "auto", "float16", "train: dtype: float16 is for GPUs, and the device is a processor"),
        (CPU_NODE, "auto", "tf32", "train: dtype: tf32 is for GPUs"),
        (H100_NODE, "cpu", "float16", "train: dtype: float16 is for GPUs"),
        (T4_NODE, "auto", "tf32", "train: dtype: Tesla T4 has no tf32"),
        (CPU_NODE, "cuda", "auto", "train: device: cuda was asked for and this machine has none"),
        (CPU_NODE, "cuda", "float16", "train: device: cuda was asked for and this machine has none"),
        (T4_NODE, "auto", "float16", ""),
        (H100_NODE, "cuda", "tf32", ""),
    ],
)
def test_what_only_a_gpu_can_do(tiny: PipelineConfig, hardware: Hardware, device: str, dtype: str, says: str) -> None:
    config = tiny.train.model_copy(update={"device": device, "dtype": dtype})
    if says:
        with pytest.raises(ConfigError, match=f"^{says}"):
            check_device(config, cluster_with(hardware), "train")
    else:
        check_device(config, cluster_with(hardware), "train")


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_what_every_node_can_do_asks_nobody(tiny: PipelineConfig, dtype: str) -> None:
    config = tiny.train.model_copy(update={"device": "auto", "dtype": dtype})
    check_device(config, Cluster(address="127.0.0.1:1", probe=unasked), "train")
    check_device(tiny.prepare, Cluster(address="127.0.0.1:1", probe=unasked), "prepare")


@pytest.mark.parametrize(
    ("mode", "setting", "error"),
    [
        ("in-process", "train.dtype=float16", ConfigError),
        ("in-process", "sample.dtype=tf32", ConfigError),
        ("in-process", "evaluate.device=cuda", ConfigError),
        ("ray", "train.device=cuda", ResourceError),
    ],
)
def test_a_run_is_refused_before_it_prepares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, setting: str, error: type[DdpmError]
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr("infra.compute.probe.probe", lambda **_: CPU_NODE)
    folder, root = put_images(tmp_path / "images", range(40)), tmp_path / "root"
    settings = run_settings(root, tracking=False, mode=mode)
    with opened(small(folder, setting), settings) as run, pytest.raises(error) as caught:
        run.to("prepare")
    assert caught.value.stage == setting.partition(".")[0]
    assert not list(root.glob("prepare/*/plan.json"))


def test_what_is_sealed_is_found_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.compute.probe.probe", lambda **_: CPU_NODE)
    folder, root = put_images(tmp_path / "images", range(40)), tmp_path / "root"
    with opened(small(folder), run_settings(root, tracking=False)) as run:
        first = run.to("prepare")
    with opened(small(folder, "train.device=cuda"), run_settings(root, tracking=False)) as again:
        assert again.to("prepare").digest == first.digest
        with pytest.raises(ConfigError, match="cuda was asked for"):
            again.to("train")


def test_a_line_of_the_wait_reaches_the_user(make_context: Callable[..., Context], tiny_run: TinyRun) -> None:
    lines: list[str] = []
    context = make_context(tiny_run.root, say=lines.append)

    def hold(*_: object, on_wait: Callable[[str], None], **__: object) -> dict[str, Hardware]:
        on_wait("waits for nodes")
        raise ResourceError("the autoscaler brought no room")

    context.cluster.nodes.hold = hold  # type: ignore[method-assign]
    with pytest.raises(ResourceError, match="brought no room"):
        train(tiny_run.config.train.model_copy(update={"images": 1000}), tiny_run.dataset, context)
    assert lines == ["waits for nodes"]
