"""The units of sampling: a snapshot's network, labels and guidance bound to it, through one of the samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from ddpm_core.choices import StepVariance, Variance
from ddpm_core.guidance import with_guidance
from ddpm_core.images import to_uint8
from ddpm_core.network.unet import UNet, UNetConfig
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.chain import Chain
from ddpm_core.samplers.table import SAMPLERS
from ddpm_core.schedule import respace
from flows.snapshot import TrainedNetwork, channels_last, decode_snapshot
from flows.stages.sample.config import SampleConfig, check_label
from infra.compute.device import prepare_process, torch_dtype
from infra.errors import ConfigError, DivergedError
from infra.outputs.images import encode_images
from infra.outputs.manifest import read_verified
from infra.outputs.plan import Output

STAGE = "sample"
PROGRESS = "progress/000000"
# For the first images the predicted x_0 is kept along the chain.
PROGRESS_IMAGES = 8
PROGRESS_STEPS = 10


def unit_name(unit: int) -> str:
    """Name of a unit below the output's folder."""
    return f"units/{unit:06d}"


@dataclass(frozen=True, kw_only=True)
class SampleTask:
    """Runs the reverse chain for one unit of images at a time.

    A unit is one compute batch of fixed shape: by then results depend neither on workers nor on order. Image i starts
    from noise that is a function of (seed, i), so asking for more images keeps those that are there.
    """

    output: Output
    config: SampleConfig
    snapshot_folder: str
    snapshot: dict[str, Any]

    def open(self) -> Callable[[int], None]:
        """Load the network; return the function that samples and commits one unit."""
        config = self.config
        prepare_process(config.threads)
        device = torch.device(config.device)
        item = f"{self.snapshot_folder}/{self.snapshot['file']}"
        data = read_verified(self.output.store, self.snapshot_folder, self.snapshot)
        snapshot = decode_snapshot(data, item)
        network = channels_last(snapshot.network.to(device))
        schedule = respace(snapshot.schedule, config.num_steps or snapshot.schedule.num_timesteps).to(device)
        shape = (network.config.in_channels, network.config.image_size, network.config.image_size)
        predict = _in_dtype(network, device, torch_dtype(config.dtype))
        sample, variance = SAMPLERS[config.sampler], _variance(config, snapshot)

        @torch.inference_mode()
        def run(unit: int) -> None:
            first = unit * config.batch_size
            ids = torch.arange(first, first + config.batch_size, device=device)
            labels = _labels(config, network.config, ids)
            progress = Progress(schedule.num_timesteps)
            chain = Chain(
                model=_model(predict, network.config, config, labels),
                schedule=schedule,
                noise=lambda t: normal(config.seed, Stream.Z_T, ids, shape, step=t),
                parameterisation=snapshot.parameterisation,
                clip_x_start=config.clip_x_start,
                variance=variance,
                eta=config.eta,
                on_step=progress if unit == 0 else None,
            )
            images = sample(chain, normal(config.seed, Stream.X_T, ids, shape))
            self._commit(unit, images.cpu(), labels, progress)

        return run

    def _commit(self, unit: int, images: Tensor, labels: Tensor | None, progress: "Progress") -> None:
        first = unit * self.config.batch_size
        broken = torch.isfinite(images).flatten(1).all(1).logical_not().nonzero()[:, 0] + first
        if len(broken):
            raise DivergedError(
                "the chain left the finite numbers",
                stage=STAGE,
                item=f"images {broken.tolist()[:5]}",
                remedy="the snapshot is unusable; train with a lower train.learning_rate",
            )
        if unit == 0:
            frames = progress.frames()
            facts = {"split": "progress", "first_id": 0, "rows": len(frames), "timesteps": progress.timesteps}
            self._put(PROGRESS, frames, 0, {}, facts)
        columns = {} if labels is None else {"label": pa.array(labels.tolist(), type=pa.int32())}
        self._put(unit_name(unit), images, first, columns, {"first_id": first, "split": "samples"})

    def _put(self, name: str, images: Tensor, first: int, columns: dict[str, pa.Array], facts: dict[str, Any]) -> None:
        data = encode_images(to_uint8(images).numpy(), first, columns, {"quantised": "round((x + 1) * 127.5)"})
        self.output.commit(name, "parquet", data, facts)


class Progress:
    """Progressive generation (Ho et al. section 4.3): the predicted x_0 of the first images at evenly spaced steps."""

    def __init__(self, num_timesteps: int) -> None:
        last = num_timesteps - 1
        self.timesteps = sorted({round(last * k / (PROGRESS_STEPS - 1)) for k in range(PROGRESS_STEPS)}, reverse=True)
        self._kept: list[Tensor] = []

    def __call__(self, t: int, pred_x_start: Tensor) -> None:
        """Keep the prediction of step t if it is one of the steps to show."""
        if t in self.timesteps:
            self._kept.append(pred_x_start[:PROGRESS_IMAGES].cpu())

    def frames(self) -> Tensor:
        """The predictions, all of the first image in the order of the chain, then all of the second: [n, c, h, w]."""
        return torch.stack(self._kept, dim=1).flatten(0, 1)


def _in_dtype(network: UNet, device: torch.device, dtype: torch.dtype) -> Callable[..., Tensor]:
    def predict(x_t: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            output: Tensor = network(x_t, t, *labels)
        return output.float()

    return predict


def _labels(config: SampleConfig, shape: UNetConfig, ids: Tensor) -> Tensor | None:
    """The class that each image is drawn of: the one asked for, or all in turn; none without classes."""
    if not shape.num_classes:
        return None
    classes = shape.num_classes - 1
    check_label(config, classes, "network")
    return ids % classes if config.label < 0 else torch.full_like(ids, config.label)


def _model(predict: Callable[..., Tensor], shape: UNetConfig, config: SampleConfig, labels: Tensor | None) -> Model:
    """Wrap the network for the sampler: bind labels, apply guidance, drop the variance channels if they are unused."""
    model: Model = predict
    if labels is not None:
        model = with_guidance(predict, labels, shape.num_classes - 1, config.guidance_scale, shape.in_channels)
    if not shape.learned_variance:
        return model
    if config.variance == StepVariance.LEARNED and "variance" in config.sampler.uses:
        return model
    return lambda x_t, t: model(x_t, t)[:, : shape.in_channels]


def _variance(config: SampleConfig, snapshot: TrainedNetwork) -> Variance:
    """The variance of the steps; a sampler that uses none gets one that it ignores."""
    variance = config.variance.of(snapshot.variance)
    if variance is not None:
        return variance
    if "variance" in config.sampler.uses:
        raise ConfigError("the network learned no variance", stage=STAGE, item="sample.variance")
    return Variance.FIXED_LARGE
