"""The power averages of a run are those of its weights after every step, skipped ones too, and resume with it."""

import pytest
import torch

from ddpm_core.power_ema import gamma_of
from flows.stages.train.averages import AVERAGES, SIGMA_RELS, PowerAverages, encode_averages
from flows.stages.train.checkpoints import CHECKPOINTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.points import POINTS
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot

GOAL = 10 * STEP


def averages(bench: Bench, output: Output, images_seen: int) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    name = f"{AVERAGES}/{images_seen:012d}"
    return decode_tensors(bench.path(output, name).read_bytes(), name)


def test_they_weigh_every_step_by_its_power(bench: Bench, config: TrainConfig) -> None:
    """Against the sum with the weights k^(gamma + 1) - (k - 1)^(gamma + 1) over t^(gamma + 1), in float64."""
    output = bench.output("averages")
    worker = bench.worker(output, config, GOAL)
    weights: list[dict[str, torch.Tensor]] = []
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
        parameters = worker.state.network.named_parameters()
        weights.append({name: value.detach().double() for name, value in parameters})
        return result

    worker.step = stepping
    worker.run()
    tensors, scalars = averages(bench, output, GOAL)
    assert scalars == {"sigma_rels": [0.05, 0.1], "steps": 10, "images_seen": GOAL}
    assert {name.split("/")[0] for name in tensors} == {"0", "1"}
    for index, sigma_rel in enumerate(SIGMA_RELS):
        power = gamma_of(sigma_rel) + 1
        for name in weights[0]:
            parts = [(k**power - (k - 1) ** power) * weights[k - 1][name] for k in range(1, 11)]
            expected = torch.stack(parts).sum(0) / 10**power
            assert torch.allclose(tensors[f"{index}/{name}"].double(), expected, rtol=1e-5, atol=1e-7)


def test_the_first_update_copies() -> None:
    network = torch.nn.Linear(2, 2)
    power = PowerAverages(network)
    with torch.no_grad():
        network.weight.fill_(3.0)
    power.update(network, 1)
    assert all(torch.equal(power.tensors()[f"{index}.weight"], network.weight) for index in (0, 1))
    file = decode_tensors(encode_averages(power.tensors(), 16, 1), "a")[0]
    assert set(file) == {"0/weight", "0/bias", "1/weight", "1/bias"}


def test_a_resumed_run_has_the_same_ones(bench: Bench, config: TrainConfig) -> None:
    straight, resumed = bench.train("straight", config, GOAL), bench.train("resumed", config, 5 * STEP, GOAL)
    one, other = (output.record(f"{AVERAGES}/{GOAL:012d}") for output in (straight, resumed))
    assert one is not None
    assert one == other


def test_skipped_steps_count(bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that stay for one step weigh as two steps."""
    import flows.stages.train.batches as module

    honest = module.training_noise

    def poisoned(seed: int, slots: torch.Tensor, *rest: object) -> object:
        noise = honest(seed, slots, *rest)
        second = (slots >= STEP) & (slots < 2 * STEP)
        return noise._replace(eps=torch.where(second[:, None, None, None], float("nan"), noise.eps))

    monkeypatch.setattr(module, "training_noise", poisoned)
    output = bench.output("skipped")
    worker = bench.worker(output, config, 2 * STEP)
    worker.run()
    tensors, scalars = averages(bench, output, 2 * STEP)
    assert scalars["steps"] == 2
    for name, value in worker.state.network.named_parameters():
        assert torch.equal(tensors[f"0/{name}"], value), "both steps have the same weights"


def test_without_them_nothing_of_them_is_stored(bench: Bench, config: TrainConfig) -> None:
    plain = bench.train("plain", config.model_copy(update={"averages": False}), GOAL)
    assert kept(plain, AVERAGES) == []
    tensors, _ = decode_tensors(bench.path(plain, f"{CHECKPOINTS}/{GOAL:012d}").read_bytes(), "c")
    assert not [name for name in tensors if name.startswith("averages.")]
    assert snapshot(plain, GOAL) == snapshot(bench.train("with", config, GOAL), GOAL)


def test_a_checkpoint_from_before_goes_on_without_them(bench: Bench, config: TrainConfig) -> None:
    """They would lack the first steps."""
    output = bench.output("from before")
    bench.worker(output, config.model_copy(update={"averages": False}), 5 * STEP).run()
    worker = bench.worker(output, config, GOAL)
    assert worker.resumed_at == 5 * STEP
    worker.run()
    assert kept(output, AVERAGES) == []
    assert snapshot(output, GOAL) == snapshot(bench.train("with", config, GOAL), GOAL)


def test_every_point_has_them(bench: Bench, config: TrainConfig) -> None:
    output = bench.train("points", config.model_copy(update={"watch_images": 4 * STEP}), GOAL)
    assert kept(output, POINTS) == [4 * STEP, 8 * STEP]
    assert kept(output, AVERAGES) == [4 * STEP, 8 * STEP, GOAL]
