"""Training is a function of its settings: wherever it stopped and started, the same weights come out."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from ddpm_core.train_step import learning_rate
from flows.artifacts import Dataset
from flows.config import PipelineConfig, TrainConfig
from flows.training import CHECKPOINTS, SNAPSHOTS, TrainingWorker, history_rows
from infra.checkpoint import decode_tensors
from infra.errors import DivergedError, IntegrityError
from infra.plan import Output, Plan

STEP = 16


@pytest.fixture
def config(tiny: PipelineConfig) -> TrainConfig:
    return tiny.train.model_copy(
        update={
            "device": "cpu",
            "batch_size": STEP,
            "checkpoint_images": 5 * STEP,
            "history_images": 5 * STEP,
            "lr_warmup_images": 10 * STEP,
            "num_res_blocks": 1,
            "channel_mults": [1],
            "attention_resolutions": [8],
        }
    )


class Bench:
    """Runs workers into outputs of their own, all below one root that holds the data set."""

    known: ClassVar[dict[tuple[str, tuple[int, ...]], dict[str, bytes]]] = {}

    def __init__(self, tiny_run: object) -> None:
        self.store, self.dataset = tiny_run.store, tiny_run.dataset

    def output(self, name: str) -> Output:
        plan = Plan(stage="train", format_version=1, settings={"case": name}, inputs={})
        return Output(store=self.store, plan=plan)

    def worker(self, output: Output, config: TrainConfig, images: int) -> TrainingWorker:
        worker = TrainingWorker(config.model_copy(update={"images": images}), self.dataset, output)
        worker.resume()
        return worker

    def train(self, name: str, config: TrainConfig, *goals: int) -> Output:
        """Train to each goal in turn, or lay down what the same config and goals gave before."""
        output = self.output(name)
        files = self.known.setdefault((repr(config), goals), {})
        for file, data in files.items():
            self.store.put_if_absent(f"{output.folder}/{file}", data)
        if not files:
            self.train_anew(output, config, *goals)
            for file in self.store.list(output.folder):
                files[file.removeprefix(f"{output.folder}/")] = self.store.read(file)
        return output

    def train_anew(self, output: Output, config: TrainConfig, *goals: int) -> Output:
        for images in goals:
            self.worker(output, config, images).run()
        return output

    def path(self, output: Output, name: str) -> Path:
        record = output.record(name)
        assert record is not None
        return Path(self.store.uri) / output.folder / record.file


@pytest.fixture
def bench(tiny_run: object) -> Bench:
    return Bench(tiny_run)


def snapshot(output: Output, images: int) -> str:
    record = output.record(f"{SNAPSHOTS}/{images:012d}")
    assert record is not None
    return record.sha256


def kept(output: Output, folder: str) -> list[int]:
    """What is there at which images seen; fails where bytes and records do not go together."""
    recorded = [int(name.rsplit("/", 1)[1]) for name in output.records(folder)]
    files = [name for name in output.store.list(f"{output.folder}/{folder}") if name.endswith(".safetensors")]
    assert [int(Path(name).name.split(".")[0]) for name in files] == recorded
    return recorded


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
        bench.worker(output, config, 80)._load(999)


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


class TestHistory:
    def test_rows(self, bench: Bench, config: TrainConfig) -> None:
        rows = history_rows(bench.train("a", config, 320))
        assert [row["images_seen"] for row in rows] == [80, 160, 240, 320]
        for row in rows:
            assert 0 < row["loss"] < 10
            assert row["grad_norm"] > 0
            assert row["images_per_second"] > 0
            assert row["skipped_steps"] == 0
            expected = learning_rate(
                row["images_seen"] - STEP,
                peak=config.learning_rate,
                warmup_images=config.lr_warmup_images,
                decay_images=config.lr_decay_images,
            )
            assert row["learning_rate"] == expected, "of the last step of the row"
        assert rows == sorted(rows, key=lambda row: row["time_ms"])

    def test_a_row_is_the_mean_since_the_one_before(self, bench: Bench, config: TrainConfig) -> None:
        fine = history_rows(bench.train("fine", config.model_copy(update={"history_images": 16}), 160))
        coarse = history_rows(bench.train("coarse", config, 160))
        assert len(fine) == 10
        for number, row in enumerate(coarse):
            assert row["loss"] == pytest.approx(
                np.mean([r["loss"] for r in fine[5 * number : 5 * number + 5]]), rel=1e-5
            )

    def test_a_resumed_run_goes_on_with_the_rows(self, bench: Bench, config: TrainConfig) -> None:
        straight = history_rows(bench.train("straight", config, 320))
        resumed = history_rows(bench.train("resumed", config, 160, 320))
        assert [(r["images_seen"], r["loss"], r["grad_norm"]) for r in resumed] == [
            (r["images_seen"], r["loss"], r["grad_norm"]) for r in straight
        ]

    def test_training_learns(self, bench: Bench, config: TrainConfig) -> None:
        config = config.model_copy(update={"lr_warmup_images": 0, "learning_rate": 5e-3})
        rows = history_rows(bench.train("a", config, 320))
        assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_no_other_generator_matters(bench: Bench, config: TrainConfig, dropout: float) -> None:
    """Python's, numpy's and torch's generators are seeded anew before every step, each time another way."""
    config = config.model_copy(update={"dropout": dropout})

    def disturbed(name: str, seed: int) -> str:
        draw = random.Random(seed)

        def reseed() -> None:
            random.seed(draw.random())
            np.random.seed(draw.randrange(1 << 32))
            torch.manual_seed(draw.randrange(1 << 60))

        reseed()
        output = bench.output(name)
        worker = bench.worker(output, config, 80)
        step: Callable[..., object] = worker._step

        def step_after_reseeding(model: torch.nn.Module) -> object:
            reseed()
            return step(model)

        worker._step = step_after_reseeding
        worker.run()
        return snapshot(output, 80)

    undisturbed = snapshot(bench.train("undisturbed", config, 80), 80)
    assert {disturbed("a", 1), disturbed("b", 2)} == {undisturbed}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": 1e-3},
        {"batch_size": 8},
        {"random_flip": True},
        {"dropout": 0.1},
        {"grad_clip": 1e-3},
        {"ema_rampup_ratio": 0.5},
        {"lr_warmup_images": 16},
        {"beta_end": 0.2},
        {"schedule": "cosine"},
    ],
    ids=str,
)
def test_every_result_setting_matters(bench: Bench, config: TrainConfig, change: dict[str, object]) -> None:
    """A setting in the key that changed nothing would mean it is not wired up."""
    base = bench.train("base", config, 80)
    other = bench.train("other", config.model_copy(update=change), 80)
    assert snapshot(other, 80) != snapshot(base, 80)


def test_a_checkpoint_holds_all_of_the_state(bench: Bench, config: TrainConfig) -> None:
    output = bench.output("a")
    worker = bench.worker(output, config, 80)
    worker.run()
    worker.state.skipped_in_a_row = 0
    other = bench.worker(output, config, 80)
    assert other.state.images_seen == 80
    expected, got = worker.state.tensors(), other.state.tensors()
    assert got.keys() == expected.keys()
    kinds = {name.split(".")[0] for name in got}
    assert kinds == {"network", "ema", "optimizer"}
    parameters = len(list(worker.state.network.parameters()))
    assert sum(name.endswith(".exp_avg") for name in got) == parameters
    assert sum(name.endswith(".exp_avg_sq") for name in got) == parameters
    assert sum(name.endswith(".step") for name in got) == parameters
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name
    assert any(
        not torch.equal(got[f"network.{n}"], got[f"ema.{n}"]) for n, _ in worker.state.network.named_parameters()
    )


class TestDivergence:
    def run(self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch | None = None) -> Output:
        output = bench.output("diverged")
        worker = bench.worker(output, config, 16 * 40)
        with pytest.raises(DivergedError) as caught:
            worker.run()
        assert caught.value.exit_code == 8
        assert caught.value.stage == "train"
        assert "images_seen" in caught.value.item
        assert "learning_rate" in caught.value.remedy
        return output

    def assert_all_finite(self, bench: Bench, output: Output) -> None:
        names = [name for folder in (CHECKPOINTS, SNAPSHOTS) for name in output.records(folder)]
        for name in names:
            tensors, _ = decode_tensors(bench.path(output, name).read_bytes(), name)
            for key, tensor in tensors.items():
                assert torch.isfinite(tensor).all(), f"{name}: {key}"

    def test_a_huge_learning_rate(self, bench: Bench, config: TrainConfig) -> None:
        """Beyond what the config lets through, so that it diverges within a few steps."""
        config = config.model_copy(
            update={"learning_rate": 1e30, "lr_warmup_images": 0, "checkpoint_images": 16, "keep_checkpoints": 99}
        )
        output = self.run(bench, config)
        assert kept(output, CHECKPOINTS), "those before it are there"
        assert kept(output, SNAPSHOTS) == []
        self.assert_all_finite(bench, output)

    def test_steps_that_are_not_finite_are_left_out_and_counted(
        self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nine bad steps in a row are survived and change nothing but the counters; their row holds no number."""
        import flows.training as module

        honest = module.training_noise
        bad = range(16 * 2, 16 * 11)

        def poisoned(seed: int, slots: torch.Tensor, *rest: object) -> object:
            noise = honest(seed, slots, *rest)
            return noise._replace(eps=noise.eps * float("nan")) if int(slots[0]) in bad else noise

        monkeypatch.setattr(module, "training_noise", poisoned)
        config = config.model_copy(update={"checkpoint_images": 16, "history_images": 16, "keep_checkpoints": 99})
        output = bench.train_anew(bench.output("survived"), config, 16 * 12)
        rows = history_rows(output)
        assert [row["skipped_steps"] for row in rows] == [0, 0, *[1] * 9, 0]
        assert [row["loss"] is None for row in rows] == [False, False, *[True] * 9, False]
        self.assert_all_finite(bench, output)
        before, within = (
            decode_tensors(bench.path(output, f"{CHECKPOINTS}/{16 * n:012d}").read_bytes(), "c") for n in (2, 11)
        )
        assert all(torch.equal(before[0][name], within[0][name]) for name in before[0])
        assert within[1]["skipped_in_a_row"] == 9

    def test_the_tenth_in_a_row_ends_it_across_a_resume(
        self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import flows.training as module

        honest = module.training_noise

        def poisoned(*arguments: object) -> object:
            noise = honest(*arguments)
            return noise._replace(eps=noise.eps * float("inf"))

        monkeypatch.setattr(module, "training_noise", poisoned)
        output = bench.train_anew(bench.output("diverged"), config, 16 * 6)
        assert bench.worker(output, config, 16 * 40).state.skipped_in_a_row == 6
        self.run(bench, config)
        self.assert_all_finite(bench, output)


def test_the_images_are_those_of_the_training_split(bench: Bench, config: TrainConfig) -> None:
    worker = bench.worker(bench.output("a"), config, 16)
    assert len(worker.images) == bench.dataset.train_images
    assert worker.images.dtype == torch.uint8


def test_a_data_set_that_is_gone(bench: Bench, config: TrainConfig) -> None:
    gone: Dataset = replace(bench.dataset, name="prepare/none/manifests/all.json")
    with pytest.raises(IntegrityError, match="is missing"):
        TrainingWorker(config, gone, bench.output("a"))
