"""The units of the bound: its terms for a batch of held-out images, and the proposal that an estimate draws from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.guidance import with_labels
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim_by_variance
from ddpm_core.likelihood.estimate import estimate_bits_per_dim, step_terms
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, normal, uniform
from flows.snapshot import TrainedNetwork, channels_last, decode_snapshot
from infra.compute.device import prepare_process
from infra.errors import DivergedError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output
from infra.outputs.rows import RowReader
from infra.outputs.tensors import decode_tensors, encode_tensors

# Share of timesteps drawn uniformly, for terms larger on held-out images than where the proposal was fitted.
_UNIFORM_SHARE = 0.05
_PROPOSAL_TIMESTEPS = 64
_IMAGES_IN_MEMORY = 1 << 15
PROPOSAL = "proposal/000000"
_SPLITS = {"train": "training", "test": "held-out"}


@dataclass(frozen=True, kw_only=True)
class BoundSettings:
    """The settings of the bound.

    Attributes:
        images: Held-out images.
        timesteps: Estimate it from so many timesteps per image; 0 sums all T.
        batch_size: Images computed together.
        seed: Of the draws of x_t.
        threads: Of each worker.
        device: `cpu` or `cuda`.
    """

    images: int
    timesteps: int
    batch_size: int
    seed: int
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class BoundTask:
    """Computes the bound's terms of one batch at a time, or the proposal of timesteps that the others need."""

    output: Output
    settings: BoundSettings
    names: list[str]
    batches: list[tuple[int, int]]
    dataset: Manifest
    trained: Manifest

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits one batch."""
        prepare_process(self.settings.threads)
        worker = _Worker(self)

        def run(number: int) -> None:
            name, (start, stop) = self.names[number], self.batches[number]
            tensors = worker.second_moments(start, stop) if name == PROPOSAL else worker.bound(start, stop)
            self.output.commit(name, "safetensors", encode_tensors(tensors, {}), {})

        return run


class _Worker:
    """A worker's inputs, each loaded when the first unit needs it."""

    def __init__(self, task: "BoundTask") -> None:
        self.task = task
        self.store = task.output.store
        self.device = torch.device(task.settings.device)
        self._rows: dict[str, RowReader] = {}

    @cached_property
    def snapshot(self) -> TrainedNetwork:
        trained = self.task.trained
        data = read_verified(self.store, trained.folder, trained.units[0])
        loaded = decode_snapshot(data, trained.units[0]["file"])
        network = channels_last(loaded.network.to(self.device))
        return loaded._replace(network=network, schedule=loaded.schedule.to(self.device))

    @cached_property
    def proposal(self) -> TimestepProposal:
        record = self.task.output.record(PROPOSAL)
        assert record is not None, "the proposal is computed before the others"
        found = decode_tensors(self.task.output.read(record), record.file)[0]
        return TimestepProposal.of_some_second_moments(
            found["timesteps"].to(self.device) - 1,
            found["second_moments"].to(self.device),
            self.snapshot.schedule.num_timesteps - 1,
            uniform_share=_UNIFORM_SHARE,
        )

    def _images(self, split: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """The images and labels of these numbers; only some files of each split are in memory."""
        if split not in self._rows:
            reader = DatasetReader(store=self.store, manifest=self.task.dataset)
            self._rows[split] = RowReader(reader, split, _IMAGES_IN_MEMORY)
        images, labels = self._rows[split](np.arange(start, stop))
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    @torch.inference_mode()
    def second_moments(self, start: int, stop: int) -> dict[str, Tensor]:
        """The mean square of some terms t >= 1 over training images: where the estimate looks most often."""
        batch, schedule = self._batch("train", start, stop, Stream.NLL_PROPOSAL), self.snapshot.schedule
        timesteps = proposal_timesteps(schedule.num_timesteps)
        terms = step_terms(
            batch.model,
            schedule,
            batch.x_start,
            timesteps,
            noise=batch.noise,
            variance=self.variances[-1],
            parameterisation=self.snapshot.parameterisation,
        )
        return _finite(
            {"timesteps": timesteps, "second_moments": (terms[: batch.count] ** 2).mean(0).cpu()}, "train", start, stop
        )

    @torch.inference_mode()
    def bound(self, start: int, stop: int) -> dict[str, Tensor]:
        """The bound of some held-out images, by every term or estimated; image i's noise is a function of (seed, i).

        A network with classes is conditioned on each image's own: the bound is on -log p(x_0 | label).
        """
        batch = self._batch("test", start, stop, Stream.NLL)
        tensors = self._estimated_terms(batch) if self.task.settings.timesteps else self._all_terms(batch)
        kept = {name: tensor[: batch.count].cpu() for name, tensor in tensors.items()}
        return _finite(kept, "test", start, stop)

    @property
    def variances(self) -> tuple[Variance, ...]:
        learned = self.snapshot.variance
        return FIXED_VARIANCES if learned is None else (*FIXED_VARIANCES, learned)

    def _batch(self, split: str, start: int, stop: int, stream: Stream) -> "_Batch":
        settings, network = self.task.settings, self.snapshot.network
        images, labels = self._images(split, start, stop)
        # One fixed compute batch: the last one is filled up with copies, which are dropped again.
        places = torch.arange(settings.batch_size).clamp(max=len(images) - 1)
        ids = torch.arange(start, start + settings.batch_size, device=self.device)
        shape = (images.shape[1], images.shape[2], images.shape[3])
        model = with_labels(network, labels[places].to(self.device)) if network.config.num_classes else network
        return _Batch(
            count=len(images),
            ids=ids,
            x_start=to_model_range(images[places].to(self.device)),
            model=model,
            noise=lambda t: normal(settings.seed, stream, ids, shape, step=t),
        )

    def _all_terms(self, batch: "_Batch") -> dict[str, Tensor]:
        results = bits_per_dim_by_variance(
            batch.model,
            self.snapshot.schedule,
            batch.x_start,
            noise=batch.noise,
            variances=self.variances,
            parameterisation=self.snapshot.parameterisation,
        )
        tensors = {name: getattr(results[0], name) for name in ("prior_bpd", "eps_mse", "x_start_mse")}
        for variance, result in zip(self.variances, results, strict=True):
            tensors[f"terms_bpd_{variance.value}"] = result.step_bpd
            tensors |= _sums(variance, result.step_bpd.sum(1), result.decoder_bpd, result.total_bpd)
        return tensors

    def _estimated_terms(self, batch: "_Batch") -> dict[str, Tensor]:
        settings = self.task.settings
        results = estimate_bits_per_dim(
            batch.model,
            self.snapshot.schedule,
            batch.x_start,
            noise=batch.noise,
            uniforms=uniform(settings.seed, Stream.NLL_T, batch.ids, (settings.timesteps,)).double(),
            proposal=self.proposal,
            variances=self.variances,
            parameterisation=self.snapshot.parameterisation,
        )
        tensors = {"prior_bpd": results[0].prior_bpd}
        for variance, result in zip(self.variances, results, strict=True):
            tensors |= _sums(variance, result.steps_bpd, result.decoder_bpd, result.total_bpd)
        return tensors


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """One compute batch of the bound; images past `count` are copies."""

    count: int
    ids: Tensor
    x_start: Tensor
    model: Model
    noise: Callable[[int], Tensor]


def proposal_timesteps(num_timesteps: int) -> Tensor:
    """At most 64 of t = 1..T-1, both ends among them, denser where t is small and the terms are steep."""
    last = num_timesteps - 1
    steps = torch.logspace(0, math.log10(last), _PROPOSAL_TIMESTEPS, dtype=torch.float64).round().long()
    return steps.clamp(1, last).unique()


def _finite(tensors: dict[str, Tensor], split: str, start: int, stop: int) -> dict[str, Tensor]:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise DivergedError(
            "the bound is not finite",
            stage="evaluate",
            item=f"{_SPLITS[split]} images {start}..{stop - 1}",
            remedy="the snapshot is unusable; train with a lower train.learning_rate",
        )
    return tensors


def _sums(variance: Variance, steps: Tensor, decoder: Tensor, total: Tensor) -> dict[str, Tensor]:
    name = variance.value
    return {f"step_bpd_{name}": steps, f"decoder_bpd_{name}": decoder, f"total_bpd_{name}": total}
