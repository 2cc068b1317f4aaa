"""A step of training stays on its device, and waits for it at the places of `allowed.py` alone."""

import copy

import pytest
import torch

from ddpm_core.choices import Loss, NetworkVariance, Parameterisation
from ddpm_core.ema import update_ema
from ddpm_core.train_step import StepConfig
from ddpm_core.training_order import training_noise
from flows.snapshot import make_schedule
from flows.stages.train.averages import PowerAverages
from flows.stages.train.batches import Batch
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import loss_by_quarter
from flows.stages.train.objective import make_objective, schedule_settings
from flows.stages.train.saver import Copies
from flows.stages.train.state import TrainingState
from flows.stages.train.step import TrainingStep
from tests.standin.allowed import HOST_WORK, READS
from tests.standin.device import DEVICE, RefusedError, stand_in
from tests.standin.networks import BATCH, SHAPE, ids, images, network

LEARNED = {"variance": NetworkVariance.LEARNED_RANGE, "loss": Loss.HYBRID}
KINDS = {
    "usual": {},
    "classes": {"class_conditional": True},
    "bfloat16": {"dtype": "bfloat16"},
    "min_snr of v": {"loss": Loss.MIN_SNR, "parameterisation": Parameterisation.V},
    "x_start": {"parameterisation": Parameterisation.X_START},
    "the bound": {"loss": Loss.BOUND},
    "a learned variance": LEARNED,
    "no dropout": {"dropout": 0.0},
}


class Worker:
    """A worker's state and step as `TrainingWorker` makes them, without files."""

    def __init__(self, **settings: object) -> None:
        config = TrainConfig(batch_size=BATCH, num_timesteps=20, ema_halflife_images=1e4, **settings)
        net = network(
            dropout=config.dropout,
            num_classes=4 if config.class_conditional else 0,
            learned_variance=config.variance != NetworkVariance.FIXED,
        ).train()
        self.config = config
        self.state = TrainingState(
            network=net,
            ema=copy.deepcopy(net).requires_grad_(False),
            optimizer=torch.optim.Adam(net.parameters(), lr=1e-4, fused=True),
            averages=PowerAverages(net),
        )
        self.step = TrainingStep(
            config=config,
            step_config=StepConfig(
                global_batch_size=BATCH, random_flip=True, objective=make_objective(config),
                autocast_dtype=getattr(torch, "bfloat16" if config.dtype == "bfloat16" else "float32"),
            ),
            schedule=make_schedule(**schedule_settings(config)).to(DEVICE),
            state=self.state,
        )  # fmt: skip

    def batch(self) -> Batch:
        labels = ids() if self.config.class_conditional else None
        return Batch(images(), labels, training_noise(0, ids(), self.config.num_timesteps, SHAPE))

    def __call__(self) -> None:
        """Take a step, with all that the loop does on the device after it."""
        batch = self.batch()
        result = self.step(self.state.network, batch)
        loss_by_quarter(result.losses, batch.noise.t, self.config.num_timesteps)
        Copies(self.state.tensors())


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_a_step_with_its_averages_and_a_copy_of_the_state(settings: dict[str, object]) -> None:
    worker = Worker(**settings)
    with stand_in() as watch:
        worker()
        worker()
    assert all(tensor.device == DEVICE for tensor in worker.state.tensors().values())
    assert worker.state.images_seen == 2 * BATCH
    for file, line in READS.items():
        if "train" in file:
            assert [place for place in watch.reads if f"`{line}" in place], f"{line}: take it off the list"
    if worker.config.dropout:
        assert set(watch.host_work) == set(HOST_WORK.values())


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_schedule_on_the_host_is_found(worker: Worker) -> None:
    object.__setattr__(worker.step, "schedule", make_schedule(**schedule_settings(worker.config)))
    with stand_in(), pytest.raises(RefusedError, match=r"ddpm_core/diffusion.py:\d+ .* tensor on the host"):
        worker()


def test_averages_on_the_host_are_found(worker: Worker) -> None:
    worker.state.averages = PowerAverages(torch.nn.Linear(2, 2))
    worker.state.averages._averages = [[torch.zeros_like(p, device="cpu") for p in worker.state.network.parameters()]]
    with stand_in(), pytest.raises(RefusedError, match=r"flows/stages/train/averages.py:\d+ `torch._foreach_lerp_"):
        worker()


def test_noise_that_is_drawn_on_the_host_is_found(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = training_noise(0, torch.arange(BATCH), 20, SHAPE)
    monkeypatch.setattr(worker, "batch", lambda: Batch(images(), None, drawn))
    with stand_in(), pytest.raises(RefusedError, match=r"ddpm_core/(images|schedule)\.py"):
        worker()


@pytest.mark.parametrize("read", ["float(losses.sum())", "losses.tolist()", "losses[losses > 0]"])
def test_a_value_asked_back_in_the_step_is_found(worker: Worker, monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    objective = worker.step.step_config.objective

    def asking(*arguments: object) -> torch.Tensor:
        losses = objective(*arguments)
        eval(read, {"losses": losses})
        return losses

    object.__setattr__(worker.step.step_config, "objective", asking)
    with stand_in(), pytest.raises(RefusedError, match=r"ddpm_core/train_step.py:\d+ `.*config.objective"):
        worker()


def test_a_read_in_the_averages_is_found(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(ema: object, weights: object, decay: float) -> None:
        update_ema(ema, weights, decay)
        next(iter(worker.state.ema.parameters())).cpu()

    monkeypatch.setattr("flows.stages.train.step.update_ema", reading)
    with stand_in(), pytest.raises(RefusedError, match=r"flows/stages/train/step.py:\d+ `update_ema.* to the host"):
        worker()
