"""Training is a function of its settings, and says so when it diverges."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddpm_core.train_step import learning_rate
from flows.artifacts import Dataset
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.worker import TrainingWorker
from infra.errors import DivergedError, IntegrityError
from infra.outputs.images import DatasetReader
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot


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
        step = worker.step

        def step_after_reseeding(*arguments: object) -> object:
            reseed()
            return step(*arguments)

        worker.step = step_after_reseeding
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
        """Nine bad steps in a row are survived; their row holds no number.

        They change the counters alone, and the power averages, in which the weights that stay count once more per step.
        """
        import flows.stages.train.batches as module

        honest = module.training_noise

        def poisoned(seed: int, slots: torch.Tensor, *rest: object) -> object:
            noise = honest(seed, slots, *rest)
            bad = (slots >= 16 * 2) & (slots < 16 * 11)
            return noise._replace(eps=torch.where(bad[:, None, None, None], float("nan"), noise.eps))

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
        changed = {name.split(".")[0] for name in before[0] if not torch.equal(before[0][name], within[0][name])}
        assert changed == {"averages"}
        assert within[1]["skipped_in_a_row"] == 9

    def test_the_tenth_in_a_row_ends_it_across_a_resume(
        self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import flows.stages.train.batches as module

        honest = module.training_noise

        def poisoned(*arguments: object) -> object:
            noise = honest(*arguments)
            return noise._replace(eps=noise.eps * float("inf"))

        monkeypatch.setattr(module, "training_noise", poisoned)
        output = bench.train_anew(bench.output("diverged"), config, 16 * 6)
        assert bench.worker(output, config, 16 * 40).state.skips.in_a_row == 6
        self.run(bench, config)
        self.assert_all_finite(bench, output)


def test_the_images_are_those_of_the_training_split(bench: Bench, config: TrainConfig) -> None:
    worker = bench.worker(bench.output("a"), config, 16)
    images, _ = worker.data(torch.arange(bench.dataset.train_images))
    expected, _ = DatasetReader(store=bench.store, manifest=bench.dataset.manifest(bench.store)).load("train")
    assert images.dtype == torch.uint8
    assert sorted(map(bytes, images.numpy())) == sorted(map(bytes, expected))


def test_a_data_set_that_is_gone(bench: Bench, config: TrainConfig) -> None:
    gone: Dataset = replace(bench.dataset, name="prepare/none/manifests/all.json")
    with pytest.raises(IntegrityError, match="is missing"):
        TrainingWorker(Assignment(config=config, dataset=gone, output=bench.output("a")))
