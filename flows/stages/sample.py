"""Sample: a snapshot to images, by Ray-parallel reverse chains."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpm_core.diffusion import Model, Variance
from ddpm_core.images import to_uint8
from ddpm_core.rng import Stream, normal
from ddpm_core.sampler import Noise, ddim_sample, ddpm_sample, ode_sample
from ddpm_core.schedule import NoiseSchedule, respace
from flows.artifacts import Checkpoint, Samples
from flows.config import SampleConfig
from flows.context import Context
from flows.snapshot import channels_last, decode_snapshot
from infra.dataset import encode_images
from infra.device import environment, prepare_process, resolve_device, resolve_dtype, torch_dtype
from infra.errors import DivergedError
from infra.plan import Manifest, Output, Plan, current, read_verified
from infra.ray_units import Workers

STAGE = "sample"
FORMAT_VERSION = 1


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
        network, schedule = decode_snapshot(data, item)
        network = channels_last(network.to(device))
        chain = respace(schedule, config.num_steps or schedule.num_timesteps).to(device)
        shape = (network.config.in_channels, network.config.image_size, network.config.image_size)
        dtype = torch_dtype(config.dtype)

        def model(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                pred_eps: Tensor = network(x_t, t)
            return pred_eps.float()

        @torch.inference_mode()
        def run(unit: int) -> None:
            first = unit * config.batch_size
            ids = torch.arange(first, first + config.batch_size, device=device)
            images = _draw(
                config,
                model,
                chain,
                start=normal(config.seed, Stream.X_T, ids, shape),
                noise=lambda t: normal(config.seed, Stream.Z_T, ids, shape, step=t),
            )
            self._commit(unit, images.cpu())

        return run

    def _commit(self, unit: int, images: Tensor) -> None:
        first = unit * self.config.batch_size
        broken = torch.isfinite(images).flatten(1).all(1).logical_not().nonzero()[:, 0] + first
        if len(broken):
            raise DivergedError(
                "the chain left the finite numbers",
                stage=STAGE,
                item=f"images {broken.tolist()[:5]}",
                remedy="the snapshot is unusable; train with a lower train.learning_rate",
            )
        data = encode_images(to_uint8(images).numpy(), first, {}, {"quantised": "round((x + 1) * 127.5)"})
        self.output.commit(f"units/{unit:06d}", "parquet", data, {"first_id": first, "split": "samples"})


def _draw(config: SampleConfig, model: Model, chain: NoiseSchedule, *, start: Tensor, noise: Noise) -> Tensor:
    match config.sampler:
        case "ddpm":
            variance = Variance(config.variance)
            return ddpm_sample(model, chain, start, noise=noise, variance=variance, clip_x_start=config.clip_x_start)
        case "ddim":
            return ddim_sample(model, chain, start, eta=config.eta, noise=noise, clip_x_start=config.clip_x_start)
        case "ode":
            return ode_sample(model, chain, start)


def sample(config: SampleConfig, checkpoint: Checkpoint, context: Context) -> Samples:
    """Draw `config.count` images and seal them; images drawn for a smaller or larger count are shared.

    Raises:
        DivergedError: If a chain leaves the finite numbers.
    """
    device = resolve_device(config.device)
    resolved = config.model_copy(update={"dtype": resolve_dtype(config.dtype, device), "device": device})
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=resolved.result_settings(),
        inputs={"snapshot": checkpoint.digest},
    )
    output = current(Output(store=context.store, plan=plan), force=context.force)
    goal = resolved.goals()
    if (sealed := output.manifest(goal)) is not None:
        return _artifact(sealed, reused=True)
    output.begin(environment(device))
    _run(resolved, checkpoint, output, context)
    return _artifact(_seal(output, resolved, goal), reused=False)


def _run(config: SampleConfig, checkpoint: Checkpoint, output: Output, context: Context) -> None:
    trained = checkpoint.manifest(context.store)
    task = SampleTask(output=output, config=config, snapshot_folder=trained.folder, snapshot=trained.units[0])
    units = range(-(-config.count // config.batch_size))
    missing = [unit for unit in units if output.record(f"units/{unit:06d}") is None]
    done = len(units) - len(missing)

    def count(_: int) -> None:
        nonlocal done
        done += 1
        context.on_progress(min(done * config.batch_size, config.count), config.count)

    gpus = 1 if config.device == "cuda" else 0
    each = torch.cuda.device_count() if gpus else (os.cpu_count() or 1) // config.threads
    workers = Workers(count=config.workers or max(each, 1), cpus=config.threads, gpus=gpus)
    context.cluster.run_units(task, missing, workers=workers, stage=STAGE, on_done=count)


def _seal(output: Output, config: SampleConfig, goal: dict[str, int]) -> Manifest:
    units = []
    for unit in range(-(-config.count // config.batch_size)):
        record = output.record(f"units/{unit:06d}")
        assert record is not None, f"unit {unit} was committed and has no record"
        rows = min(config.batch_size, config.count - unit * config.batch_size)
        units.append({"unit": unit, "rows": rows, **record.as_json()})
    return output.seal(goal, units, {"images": config.count})


def _artifact(manifest: Manifest, *, reused: bool) -> Samples:
    return Samples(
        name=manifest.name, key=manifest.key, digest=manifest.digest, reused=reused, count=manifest.facts["images"]
    )
