"""The units of sampling: batches of images, drawn from a snapshot's network by the sampler that the config names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from ddpm_core.images import to_uint8
from flows.drawing import Drawing
from flows.snapshot import TrainedNetwork, channels_last, decode_snapshot
from flows.stages.sample.config import SampleConfig, check_label
from infra.compute.compilation import compile_network
from infra.compute.device import prepare_process, torch_dtype
from infra.errors import ConfigError, DivergedError
from infra.outputs.images import encode_images
from infra.outputs.manifest import read_verified
from infra.outputs.plan import Output

STAGE = "sample"
PROGRESS = "progress/000000"
# For the first images, the predicted x_0 is kept at some steps of the chain.
PROGRESS_IMAGES = 8
PROGRESS_STEPS = 10
_UNUSABLE = "the snapshot is unusable; train with a lower train.learning_rate"
_OVERFLOW = "set sample.dtype=float32: the network may exceed the range of float16"


def unit_name(unit: int) -> str:
    """The name of a unit in the output."""
    return f"units/{unit:06d}"


@dataclass(frozen=True, kw_only=True)
class SampleTask:
    """Runs the reverse chain for one unit of images at a time.

    A unit is one compute batch of fixed shape, so that results depend neither on workers nor on their order. All noise
    of image i is a function of (seed, i), so a larger count keeps the existing images.
    """

    output: Output
    config: SampleConfig
    snapshot_folder: str
    snapshot: dict[str, Any]
    untrained_classes: tuple[int, ...] = ()

    def open(self) -> Callable[[int], None]:
        """Load the network; return the function that samples and commits one unit."""
        config = self.config
        prepare_process(config.threads, config.dtype)
        device = torch.device(config.device)
        item = f"{self.snapshot_folder}/{self.snapshot['file']}"
        data = read_verified(self.output.store, self.snapshot_folder, self.snapshot)
        snapshot = decode_snapshot(data, item)
        network = channels_last(snapshot.network.to(device))
        drawing = _drawing(config, snapshot._replace(network=network), device, self.untrained_classes)
        num_timesteps = drawing.schedule.num_timesteps
        if config.compile:
            with torch.inference_mode():
                compile_network(network, lambda: drawing.predict(torch.arange(config.batch_size, device=device)))

        @torch.inference_mode()
        def run(unit: int) -> None:
            first = unit * config.batch_size
            ids = torch.arange(first, first + config.batch_size, device=device)
            progress = Progress(num_timesteps)
            images = drawing(ids, progress if unit == 0 else None)
            self._commit(unit, images.cpu(), drawing.labels(ids), progress)

        return run

    def _commit(self, unit: int, images: Tensor, labels: Tensor | None, progress: "Progress") -> None:
        first = unit * self.config.batch_size
        broken = torch.isfinite(images).flatten(1).all(1).logical_not().nonzero()[:, 0] + first
        if len(broken):
            raise DivergedError(
                "the chain produced numbers that are not finite",
                stage=STAGE,
                item=f"images {broken.tolist()[:5]}",
                remedy=_OVERFLOW if self.config.dtype == "float16" else _UNUSABLE,
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
    """Collects the predicted x_0 of the first images at evenly spaced steps: progressive generation (Ho et al. 4.3)."""

    def __init__(self, num_timesteps: int) -> None:
        last = num_timesteps - 1
        self.timesteps = sorted({round(last * k / (PROGRESS_STEPS - 1)) for k in range(PROGRESS_STEPS)}, reverse=True)
        self._kept: list[Tensor] = []

    def __call__(self, t: int, pred_x_start: Tensor) -> None:
        """Keep the prediction of step t if that step is to be shown."""
        if t in self.timesteps:
            self._kept.append(pred_x_start[:PROGRESS_IMAGES].cpu())

    def frames(self) -> Tensor:
        """Return the predictions [n, c, h, w]: all of the first image in the order of the chain, then the second's."""
        return torch.stack(self._kept, dim=1).flatten(0, 1)


def _drawing(
    config: SampleConfig, snapshot: TrainedNetwork, device: torch.device, untrained: tuple[int, ...]
) -> Drawing:
    """Return the function that draws images by the config.

    Raises:
        ConfigError: If the network lacks the label or the variance that the config names.
    """
    if snapshot.network.config.num_classes:
        check_label(config, snapshot.network.config.num_classes - 1, "network", untrained)
    try:
        return Drawing(
            trained=snapshot,
            device=device,
            seed=config.seed,
            sampler=config.sampler,
            num_steps=config.num_steps,
            dtype=torch_dtype(config.dtype),
            variance=config.variance,
            eta=config.eta,
            guidance_scale=config.guidance_scale,
            label=config.label,
            untrained_classes=untrained,
            clip_x_start=config.clip_x_start,
        )
    except ValueError as error:
        raise ConfigError(str(error), stage=STAGE, item="sample.variance") from error
