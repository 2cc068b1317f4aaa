"""The train stage: goals share checkpoints, a key stands for its settings, and listeners hear every row once."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from flows.artifacts import Snapshot
from flows.nodes.devices import environment_of
from flows.snapshot import load_snapshot
from flows.stage import Progress
from flows.stages.train.config import TrainConfig
from flows.stages.train.training import train
from infra.compute.hardware import resolve_device, resolve_dtype
from infra.compute.probe import probe
from infra.errors import ConfigError, ConflictError, ResourceError
from infra.outputs.environments import periods_of
from infra.outputs.manifest import verify
from tests.conftest import TinyRun


@pytest.fixture
def config(tiny_run: TinyRun) -> TrainConfig:
    """Even smaller: sixteen images a step, one level; watching has tests of its own."""
    return tiny_run.config.train.model_copy(
        update={
            "images": 80,
            "batch_size": 16,
            "history_images": 16,
            "history_seconds": 1e6,
            "checkpoint_images": 48,
            "channel_mults": [1],
            "attention_resolutions": [8],
            "watch_share": 0.0,
        }
    )


@pytest.fixture
def run(tiny_run: TinyRun) -> Callable[..., Snapshot]:
    def call(config: TrainConfig, **context: object) -> Snapshot:
        return train(config, tiny_run.dataset, replace(tiny_run.context, **context))

    return call


def test_it_seals_a_snapshot_that_loads(tiny_run: TinyRun, config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    snapshot = run(config)
    assert (snapshot.images_seen, snapshot.num_timesteps, snapshot.reused) == (80, 20, False)
    manifest = snapshot.manifest(tiny_run.store)
    verify(tiny_run.store, manifest)
    network, schedule, *_ = load_snapshot(str(tiny_run.root / manifest.folder / manifest.units[0]["file"]))
    assert schedule.num_timesteps == 20
    assert network(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)).shape == (1, 1, 8, 8)
    assert [row["images_seen"] for row in manifest.facts["history"]] == [16, 32, 48, 64, 80]


def test_a_sealed_goal_is_found(config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    first = run(config)
    heard: list[object] = []
    assert run(config, on_history=heard.append) == replace(first, reused=True)
    assert heard == []


def test_a_longer_goal_goes_on_from_a_shorter_one(
    config: TrainConfig, run: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.stages.train.step as module

    steps: list[int] = []
    honest = module.learning_rate
    monkeypatch.setattr(module, "learning_rate", lambda seen, **more: (steps.append(seen), honest(seen, **more))[1])
    short = run(config)
    assert steps == [0, 16, 32, 48, 64]
    steps.clear()
    long = run(config.model_copy(update={"images": 112}))
    assert steps == [80, 96]
    assert long.key == short.key
    assert long.digest != short.digest
    assert run(config).digest == short.digest


def test_the_digest_is_that_of_an_undisturbed_run(
    tiny_run: TinyRun, config: TrainConfig, run: Callable[..., Snapshot]
) -> None:
    run(config)
    longer = config.model_copy(update={"images": 112})
    assert run(longer).digest == run(longer, force=True).digest


def test_force_starts_beside(config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    first = run(config)
    again = run(config, force=True)
    assert not again.reused
    assert (again.key, again.digest) == (first.key, first.digest)
    assert again.name != first.name


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"checkpoint_images": 1000}, True),
        ({"history_images": 1000}, True),
        ({"keep_checkpoints": 7}, True),
        ({"device": "cpu"}, True),
        ({"images": 81}, True),
        ({"seed": 1}, False),
        ({"learning_rate": 1e-3}, False),
        ({"dtype": "bfloat16"}, False),
    ],
    ids=str,
)
def test_the_key(config: TrainConfig, run: Callable[..., Snapshot], change: dict[str, object], same: bool) -> None:
    config = config.model_copy(update={"images": 16})
    assert (run(config).key == run(config.model_copy(update=change)).key) is same


def test_auto_is_keyed_as_auto_and_recorded_as_what_it_became(
    tiny_run: TinyRun, config: TrainConfig, run: Callable[..., Snapshot]
) -> None:
    config = config.model_copy(update={"images": 16, "dtype": "auto"})
    here = [probe()]
    became = resolve_dtype("auto", resolve_device("auto", here), here)
    trained, explicit = run(config), run(config.model_copy(update={"dtype": became}))
    assert trained.key != explicit.key
    assert trained.digest == explicit.digest
    assert trained.manifest(tiny_run.store).environment["dtype"] == became


def test_another_data_set_is_another_key(tiny_run: TinyRun, config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    from flows.stages.prepare.preparation import prepare

    other = prepare(tiny_run.config.prepare.model_copy(update={"holdout": 0.2}), tiny_run.context)
    config = config.model_copy(update={"images": 16})
    assert train(config, other, tiny_run.context).key != run(config).key


def test_listeners_hear_every_row_once(config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    heard: list[int] = []
    progress: list[Progress] = []

    def hear(rows: list[dict[str, int]]) -> None:
        heard.extend(row["images_seen"] for row in rows)

    run(config, on_history=hear, on_progress=progress.append)
    assert heard == [16, 32, 48, 64, 80]
    assert progress[0] == Progress(done=0, total=80, phase="starting")
    assert (progress[-1].done, progress[-1].total, progress[-1].kept) == (80, 80, 80)
    assert progress[-1].rate is not None
    assert progress[-1].loss is not None
    heard.clear()
    progress.clear()
    run(config.model_copy(update={"images": 112}), on_history=hear, on_progress=progress.append)
    assert heard == [96, 112]
    assert progress[0] == Progress(done=80, total=112, start=80, kept=80, phase="starting")


def test_the_start_is_where_the_worker_really_goes_on(
    tiny_run: TinyRun, config: TrainConfig, run: Callable[..., Snapshot]
) -> None:
    """The latest snapshot may turn out to be damaged."""
    folder = tiny_run.root / run(config).manifest(tiny_run.store).folder
    (latest,) = folder.glob("checkpoints/*80.*.safetensors")
    latest.write_bytes(b"")
    progress: list[Progress] = []
    said: list[str] = []
    run(config.model_copy(update={"images": 112}), on_progress=progress.append, say=said.append)
    (line,) = said
    assert f"checkpoints/{80:012d}: differs from its digest; training goes on from 48 images" in line
    assert (progress[0].start, progress[-1].start, progress[-1].done) == (80, 48, 112)


def test_a_network_that_does_not_fit(config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    with pytest.raises(ConfigError, match="attention_resolutions") as caught:
        run(config.model_copy(update={"attention_resolutions": [16]}))
    assert (caught.value.exit_code, caught.value.stage) == (2, "train")


def test_several_workers_do_not_run_in_one_process(config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    with pytest.raises(ResourceError):
        run(config.model_copy(update={"workers": 2}))


def test_another_environment_goes_on_and_is_recorded(
    tiny_run: TinyRun, config: TrainConfig, run: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    sealed, longer = run(config), config.model_copy(update={"images": 112})
    monkeypatch.setattr(
        "flows.stages.train.training.environment_of",
        lambda work, config, more: environment_of(work, config, {**more, "device": "another"}),
    )
    assert run(config, say=lines.append) == replace(sealed, reused=True), "a sealed output is used wherever it was made"
    assert lines == []
    with pytest.raises(ConflictError) as caught:
        run(longer, strict_environment=True)
    assert caught.value.exit_code == 5
    manifest = run(longer, say=lines.append).manifest(tiny_run.store)
    (line,) = lines
    here = manifest.environment["device"]
    assert line.startswith(f"train: goes on in another environment (device: {here} there, another here); ")
    first, second = periods_of(manifest)
    assert (first.environment, first.after) == (manifest.environment, {})
    assert second.environment == {**first.environment, "device": "another"}
    assert second.after == {"images": 80}
    assert periods_of(sealed.manifest(tiny_run.store)) == [first], "the shorter goal was sealed before"
    assert periods_of(run(config.model_copy(update={"images": 64})).manifest(tiny_run.store)) == [first]


def test_another_network_on_the_same_data_is_named(config: TrainConfig, run: Callable[..., Snapshot]) -> None:
    lines: list[str] = []
    config = config.model_copy(update={"images": 16, "seed": 3})
    one = run(config)
    run(config.model_copy(update={"learning_rate": 0.003}), say=lines.append)
    there = config.learning_rate
    assert lines == [
        f"train: another network than {one.name.partition('/manifests')[0]}: "
        f"learning_rate {there} there, 0.003 here; that one is kept"
    ]
    lines.clear()
    run(config.model_copy(update={"learning_rate": 0.003, "images": 32}), say=lines.append)
    assert lines == [], "only when an output is new"
