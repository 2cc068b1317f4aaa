"""float16, micro-batches and activation checkpointing in a worker, and memory that runs out as one line."""

import pytest
import torch

from flows.recipe.settings import load_config
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import CHECKPOINTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.step import _dropout_seed
from flows.stages.train.training import _environment, train
from flows.stages.train.worker import TrainingWorker, run_training
from infra.errors import ConfigError, ResourceError
from infra.outputs.tensors import decode_tensors
from tests.conftest import TinyRun
from tests.flows.stages.train.bench import STEP, Bench, snapshot
from tests.hardware import T4_NODE


class TestFloat16:
    """The stage refuses it on a processor, where torch has it nonetheless; a worker takes what it is given."""

    @pytest.fixture
    def config(self, config: TrainConfig) -> TrainConfig:
        return config.model_copy(update={"dtype": "float16", "dropout": 0.2})

    def test_a_resumed_run_goes_on_with_the_scale(
        self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a skipped step before the checkpoint, and a growth on each side of it."""
        monkeypatch.setattr("ddpm_core.loss_scale.GROWTH_STEPS", 4)
        monkeypatch.setattr("ddpm_core.loss_scale.INITIAL_SCALE", 2.0**40)
        straight, resumed = bench.output("straight"), bench.output("resumed")
        bench.train_anew(straight, config, 320)
        bench.train_anew(resumed, config, 160, 320)
        end = f"{CHECKPOINTS}/{320:012d}"
        assert straight.record(end) is not None
        assert straight.record(end) == resumed.record(end)
        assert snapshot(straight, 320) == snapshot(resumed, 320)
        tensors, _ = decode_tensors(bench.path(resumed, f"{CHECKPOINTS}/{160:012d}").read_bytes(), "160")
        assert 1 < float(tensors["loss_scale.scale"]) < 2.0**40
        rows = history_rows(straight)
        assert rows[0]["skipped_steps"] > 0
        assert rows[-1]["loss_scale"] != rows[0]["loss_scale"]

    def test_it_trains_like_float32(self, bench: Bench, config: TrainConfig) -> None:
        other = config.model_copy(update={"dtype": "float32"})
        losses = [[row["loss"] for row in history_rows(bench.train(one.dtype, one, 160))] for one in (config, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-2)
        assert losses[0] != losses[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_of_another_dtype_holds_no_scale(bench: Bench, config: TrainConfig, dtype: str) -> None:
    output = bench.train("plain", config.model_copy(update={"dtype": dtype}), 80)
    tensors, _ = decode_tensors(bench.path(output, f"{CHECKPOINTS}/{80:012d}").read_bytes(), "80")
    assert not any(name.startswith("loss_scale") for name in tensors)
    assert "loss_scale" not in history_rows(output)[0]


@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16"])
def test_a_worker_multiplies_as_tf32_by_that_name_alone(bench: Bench, config: TrainConfig, dtype: str) -> None:
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        bench.worker(bench.output("a"), config.model_copy(update={"dtype": dtype}), STEP)
        assert torch.backends.cudnn.allow_tf32 is (dtype == "tf32")
        assert torch.backends.cuda.matmul.allow_tf32 is (dtype == "tf32")
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


class TestMicroBatches:
    def weights(self, bench: Bench, config: TrainConfig, **change: object) -> torch.Tensor:
        worker = bench.worker(bench.output(f"{change}"), config.model_copy(update=change), 5 * STEP)
        worker.run()
        return torch.cat([weight.detach().flatten() for weight in worker.state.network.parameters()])

    def test_without_dropout_they_change_nothing_but_the_order_of_sums(self, bench: Bench, config: TrainConfig) -> None:
        whole, parts = (self.weights(bench, config, dropout=0.0, microbatch=size) for size in (0, 5))
        assert not torch.equal(whole, parts)
        # Adam divides by the root of the second moment, so that rounding counts most where a gradient is near 0.
        assert float((whole - parts).norm() / whole.norm()) < 1e-4

    def test_with_dropout_each_has_masks_of_its_own(self, bench: Bench, config: TrainConfig) -> None:
        whole, parts, all_of_it = (self.weights(bench, config, dropout=0.2, microbatch=size) for size in (0, 5, STEP))
        assert torch.equal(whole, all_of_it), "the first one's masks are those of a whole share"
        assert float((whole - parts).norm() / whole.norm()) > 1e-4

    def test_each_pass_of_a_step_is_seeded(
        self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = config.model_copy(update={"dropout": 0.2, "microbatch": 5})
        worker, seeds = bench.worker(bench.output("a"), config, 2 * STEP), []
        monkeypatch.setattr(torch, "manual_seed", seeds.append)
        worker.run()
        assert seeds == [_dropout_seed(config.seed, seen, 0, part) for seen in (0, STEP) for part in range(4)]

    def test_the_seed_of_a_mask_is_that_of_its_step_rank_and_micro_batch(self) -> None:
        places = [(seen, rank, part) for seen in (0, 16) for rank in (0, 1, 4095) for part in (0, 1, 65535)]
        assert len({_dropout_seed(0, *place) for place in places}) == len(places)
        assert _dropout_seed(3, 16, 1) == _dropout_seed(3, 16, 1, 0)


@pytest.mark.parametrize(
    ("settings", "in_key"),
    [
        ({"dropout": 0.1, "microbatch": 16}, True),
        ({"dropout": 0.0, "microbatch": 16}, False),
        ({"dropout": 0.1, "microbatch": 128}, False),
        ({"dropout": 0.1, "microbatch": 127}, True),
        ({"dropout": 0.1, "microbatch": 0}, False),
    ],
    ids=str,
)
def test_micro_batches_are_a_result_only_if_they_change_the_masks_of_dropout(
    settings: dict[str, float], in_key: bool
) -> None:
    config, whole = TrainConfig(**settings), TrainConfig(dropout=settings["dropout"])
    assert (config.key_settings() != whole.key_settings()) is in_key
    assert (config.result_settings() != whole.result_settings()) is in_key, "the run's name is made of them"
    assert config.model_copy(update={"workers": 4}).key_settings() == config.key_settings()


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_activation_checkpointing_changes_no_bit(bench: Bench, config: TrainConfig, dropout: float) -> None:
    config = config.model_copy(update={"dropout": dropout})
    plain = bench.train("plain", config, 80)
    again = bench.train("again", config.model_copy(update={"activation_checkpointing": True}), 80)
    assert snapshot(plain, 80) == snapshot(again, 80)


def test_activation_checkpointing_is_refused_in_compiled_code() -> None:
    """Its bits would differ, and the setting is no part of the key."""
    load_config("digits", None, ["train.compile=true"])
    with pytest.raises(ConfigError, match=r"turn it or train\.activation_checkpointing off"):
        load_config("digits", None, ["train.compile=true", "train.activation_checkpointing=true"])


@pytest.mark.parametrize(
    ("device", "deterministic", "found"), [("cuda", True, None), ("cuda", False, "off"), ("cpu", False, None)]
)
def test_kernels_that_need_not_repeat_are_recorded_where_there_are_some(
    config: TrainConfig, device: str, deterministic: bool, found: str | None
) -> None:
    config = config.model_copy(update={"device": device, "deterministic": deterministic, "dtype": "float32"})
    assert _environment(config).on([T4_NODE])[0].get("deterministic") == found


@pytest.mark.parametrize("wanted", [True, False])
def test_the_steps_take_repeatable_kernels_unless_they_are_turned_off(
    bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    from infra.compute.device import repeatable_gradients

    seen: list[bool] = []

    def on_gpu(_: str, *, wanted: bool) -> object:
        return repeatable_gradients("cuda", wanted=wanted)

    monkeypatch.setattr("flows.stages.train.step.repeatable_gradients", on_gpu)
    worker = bench.worker(bench.output("a"), config.model_copy(update={"deterministic": wanted}), STEP)
    worker.state.network.register_forward_hook(lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()))
    worker.run()
    assert seen == [wanted]


class TestMemory:
    @pytest.mark.parametrize("place", ["__init__", "run"])
    def test_too_little_for_training_is_one_line_with_what_helps(
        self, bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        def fail(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

        monkeypatch.setattr(TrainingWorker, place, fail)
        config = config.model_copy(update={"images": STEP})
        assignment = Assignment(config=config, dataset=bench.dataset, output=bench.output("a"))
        with pytest.raises(ResourceError) as caught:
            run_training(assignment.as_json(), lambda _: {})
        line = str(caught.value)
        assert line.startswith("train: memory ran out (CUDA out of memory. Tried to allocate 2.00 GiB.) - ")
        assert caught.value.exit_code == 7
        named = [name for name in TrainConfig.model_fields if f"train.{name}" in line]
        assert named == ["microbatch", "activation_checkpointing"]
        load_config("digits", None, ["train.microbatch=4", "train.activation_checkpointing=true"])


@pytest.mark.parametrize("dtype", ["float16", "tf32"])
def test_a_format_of_gpus_is_refused_on_a_processor(tiny_run: TinyRun, config: TrainConfig, dtype: str) -> None:
    with pytest.raises(ConfigError, match=f"dtype: {dtype} is for GPUs.* - set dtype=auto") as caught:
        train(config.model_copy(update={"dtype": dtype}), tiny_run.dataset, tiny_run.context)
    assert caught.value.exit_code == 2
