"""A plain loop of the training step, and the ladder from it to the whole loop, for `benchmarks.train`."""

import copy
import tempfile
import time
from collections.abc import Callable

import torch

from benchmarks.train_stage import dataset_of
from ddpm_core.ema import update_ema
from ddpm_core.network.unet import UNet
from ddpm_core.train_step import StepConfig, train_step
from ddpm_core.training_order import TrainingNoise, training_noise
from flows.recipe.config import PipelineConfig
from flows.snapshot import channels_last, encode_snapshot, make_schedule
from flows.stages.train.data import training_data
from flows.stages.train.objective import make_objective, schedule_settings
from infra.compute.device import prepare_process, torch_dtype
from infra.compute.hardware import resolve_dtype
from infra.compute.probe import probe
from infra.outputs.images import DatasetReader

TURNS, STEPS_PER_TURN, WARM_UP = 12, 10, 5
Step = Callable[[], object]


class Loop:
    """Network, optimiser, data and noise of a run; each piece of a step as a function."""

    def __init__(self, config: PipelineConfig, root: str) -> None:
        train = self.config = config.train
        prepare_process(train.threads)
        store, self.dataset = dataset_of(config, root)
        reader = DatasetReader(store=store, manifest=self.dataset.manifest(store))
        self.data = training_data(reader, train.seed, train.shuffle_images)
        self.shape = self.dataset.image_shape
        self.schedule = make_schedule(**schedule_settings(train))
        unet = train.unet(self.dataset.image_size, self.dataset.channels, len(self.dataset.class_names))
        self.network = channels_last(UNet(unet, seed=0)).train()
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=train.learning_rate, fused=True)
        self.step_config = StepConfig(
            global_batch_size=train.batch_size,
            grad_clip=train.grad_clip,
            autocast_dtype=torch_dtype(resolve_dtype(train.dtype, "cpu", [probe(gpus=False, compiler=False)])),
            random_flip=train.random_flip,
            objective=make_objective(train),
        )
        self.seen = 0
        slots = torch.arange(train.batch_size)
        self.images, self.noise = self.data(slots)[0], self._drawn(slots)

    def _drawn(self, slots: torch.Tensor) -> TrainingNoise:
        return training_noise(self.config.seed, slots, self.schedule.num_timesteps, self.shape)

    def step(self, *, order: bool = False, noise: bool = False, ema: bool = False, rows: bool = False) -> None:
        """Take one step on images and noise at hand, or with these pieces done in line."""
        self.seen += self.config.batch_size
        slots = torch.arange(self.seen, self.seen + self.config.batch_size)
        images = self.data(slots)[0] if order else self.images
        drawn = self._drawn(slots) if noise else self.noise
        result = train_step(self.network, self.optimizer, self.schedule, images, drawn, self.step_config)
        if ema:
            update_ema(self.ema.parameters(), self.network.parameters(), 0.999)
        if rows:
            float(result.loss_sum)

    def encode(self) -> bytes:
        """Encode a snapshot, a third of what a checkpoint holds."""
        return encode_snapshot(self.ema.state_dict(), self.ema.config, schedule_settings(self.config), self.seen)


def ladder(config: PipelineConfig, root: str) -> dict[str, list[float]]:
    """Milliseconds per step of each rung, turn by turn."""
    loop = Loop(config, root)
    rungs: dict[str, Step] = {
        "step alone": loop.step,
        "+ order and images": lambda: loop.step(order=True),
        "+ noise in line": lambda: loop.step(order=True, noise=True),
        "+ EMA": lambda: loop.step(order=True, noise=True, ema=True),
        "+ loss of every step": lambda: loop.step(order=True, noise=True, ema=True, rows=True),
    }
    ms: dict[str, list[float]] = {name: [] for name in [*rungs, "+ a snapshot encoded and written per 10 steps"]}
    with tempfile.NamedTemporaryFile() as file:
        for turn in range(TURNS + 1):
            for name in ms:
                rung = rungs.get(name, rungs["+ loss of every step"])
                began = time.perf_counter()
                for _ in range(STEPS_PER_TURN):
                    rung()
                if name not in rungs:
                    file.write(loop.encode())
                    file.flush()
                if turn:
                    ms[name].append((time.perf_counter() - began) * 1e3 / STEPS_PER_TURN)
    return ms


def plain_rate(config: PipelineConfig, root: str) -> float:
    """Images per second of the step alone over as many images as the stage trains on."""
    loop = Loop(config, root)
    for _ in range(WARM_UP):
        loop.step()
    steps = -(-config.train.images // config.train.batch_size)
    began = time.perf_counter()
    for _ in range(steps):
        loop.step()
    return steps * config.train.batch_size / (time.perf_counter() - began)
