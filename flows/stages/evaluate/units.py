"""The units of the evaluation: the bound of held-out images, and sums of features."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.guidance import with_labels
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim_by_variance
from ddpm_core.likelihood.estimate import estimate_bits_per_dim, step_terms
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.metrics.frechet import FeatureStats
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, normal, uniform
from flows.snapshot import TrainedNetwork, channels_last, decode_snapshot
from flows.stages.evaluate.config import EvaluateConfig
from infra.compute.device import prepare_process
from infra.errors import DivergedError
from infra.features.classifier import Classifier, Extractor
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output
from infra.outputs.rows import RowReader
from infra.outputs.tensors import decode_tensors, encode_tensors

Kind = Literal["proposal", "bound", "reference", "samples"]
PROPOSAL_UNIT = "units/000000"
# Share of timesteps drawn uniformly, for terms larger on held-out images than where the proposal was fitted.
_UNIFORM_SHARE = 0.05
_PROPOSAL_TIMESTEPS = 64
_COMPARED = {"reference": "train", "samples": "samples"}
_IMAGES_IN_MEMORY = 1 << 15
_SPLIT_OF = {"proposal": "training", "bound": "held-out"}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Some images of one kind.

    Held-out ones for the bound, training ones for its proposal of timesteps or for the reference, or samples.
    """

    kind: Kind
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class EvaluateTask:
    """Computes the bound's terms or the features' sums of one unit at a time."""

    output: Output
    config: EvaluateConfig
    units: list[Unit]
    dataset: Manifest
    trained: Manifest
    samples: Manifest
    features: Manifest | None

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits one unit."""
        prepare_process(self.config.threads)
        worker = _Worker(self)

        def run(number: int) -> None:
            unit = self.units[number]
            work = {"bound": worker.bound, "proposal": worker.second_moments}.get(unit.kind, worker.feature_sums)
            tensors = work(unit)
            self.output.commit(f"units/{number:06d}", "safetensors", encode_tensors(tensors, {}), {"kind": unit.kind})

        return run


class _Worker:
    """What a worker has loaded; each part when the first unit needs it."""

    def __init__(self, task: EvaluateTask) -> None:
        self.task = task
        self.store = task.output.store
        self.device = torch.device(task.config.device)
        self._rows: dict[str, RowReader] = {}

    @cached_property
    def extractor(self) -> Extractor:
        features = self.task.features
        if features is None:
            return Extractor(self.task.config.extractor)
        item = features.units[0]["file"]
        weights, about = decode_tensors(read_verified(self.store, features.folder, features.units[0]), item)
        network = Classifier(about["channels"], about["classes"])
        network.load_state_dict(weights)
        return Extractor(self.task.config.extractor, network.eval())

    @cached_property
    def snapshot(self) -> TrainedNetwork:
        trained = self.task.trained
        data = read_verified(self.store, trained.folder, trained.units[0])
        loaded = decode_snapshot(data, trained.units[0]["file"])
        network = channels_last(loaded.network.to(self.device))
        return loaded._replace(network=network, schedule=loaded.schedule.to(self.device))

    @cached_property
    def proposal(self) -> TimestepProposal:
        record = self.task.output.record(PROPOSAL_UNIT)
        assert record is not None, "the proposal's unit is run before the others"
        found = decode_tensors(self.task.output.read(record), record.file)[0]
        return TimestepProposal.of_some_second_moments(
            found["timesteps"].to(self.device) - 1,
            found["second_moments"].to(self.device),
            self.snapshot.schedule.num_timesteps - 1,
            uniform_share=_UNIFORM_SHARE,
        )

    def _images(self, split: str, unit: Unit) -> tuple[Tensor, Tensor]:
        """The images and labels of a unit's numbers; of each split only some files are in memory."""
        if split not in self._rows:
            manifest = self.task.samples if split == "samples" else self.task.dataset
            reader = DatasetReader(store=self.store, manifest=manifest)
            self._rows[split] = RowReader(reader, split, _IMAGES_IN_MEMORY)
        images, labels = self._rows[split](np.arange(unit.start, unit.stop))
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    def feature_sums(self, unit: Unit) -> dict[str, Tensor]:
        """Count, sum and sum of outer products of the features."""
        features = self.extractor(self._images(_COMPARED[unit.kind], unit)[0])
        stats = FeatureStats.empty(features.shape[1]).update(features)
        return {"count": torch.tensor(stats.count), "total": stats.total, "outer": stats.outer}

    @torch.inference_mode()
    def second_moments(self, unit: Unit) -> dict[str, Tensor]:
        """The mean square of some terms t >= 1 over training images: where the estimate looks most often."""
        batch, schedule = self._batch(unit, "train", Stream.NLL_PROPOSAL), self.snapshot.schedule
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
        return _finite({"timesteps": timesteps, "second_moments": (terms[: batch.count] ** 2).mean(0).cpu()}, unit)

    @torch.inference_mode()
    def bound(self, unit: Unit) -> dict[str, Tensor]:
        """The bound of some held-out images, by every term or estimated; image i's noise is a function of (seed, i).

        A network that has classes is told each image's own: the bound is on -log p(x_0 | label).
        """
        batch = self._batch(unit, "test", Stream.NLL)
        tensors = self._estimated_terms(batch) if self.task.config.bpd_timesteps else self._all_terms(batch)
        kept = {name: tensor[: batch.count].cpu() for name, tensor in tensors.items()}
        return _finite(kept, unit)

    @property
    def variances(self) -> tuple[Variance, ...]:
        learned = self.snapshot.variance
        return FIXED_VARIANCES if learned is None else (*FIXED_VARIANCES, learned)

    def _batch(self, unit: Unit, split: str, stream: Stream) -> "_Batch":
        config, network = self.task.config, self.snapshot.network
        images, labels = self._images(split, unit)
        # One fixed compute batch: the last one is filled up with copies, which are dropped again.
        places = torch.arange(config.batch_size).clamp(max=len(images) - 1)
        ids = torch.arange(unit.start, unit.start + config.batch_size, device=self.device)
        shape = (images.shape[1], images.shape[2], images.shape[3])
        told = with_labels(network, labels[places].to(self.device)) if network.config.num_classes else network
        return _Batch(
            count=len(images),
            ids=ids,
            x_start=to_model_range(images[places].to(self.device)),
            model=told,
            noise=lambda t: normal(config.seed, stream, ids, shape, step=t),
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
        config = self.task.config
        results = estimate_bits_per_dim(
            batch.model,
            self.snapshot.schedule,
            batch.x_start,
            noise=batch.noise,
            uniforms=uniform(config.seed, Stream.NLL_T, batch.ids, (config.bpd_timesteps,)).double(),
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


def _finite(tensors: dict[str, Tensor], unit: Unit) -> dict[str, Tensor]:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise DivergedError(
            "the bound is not finite",
            stage="evaluate",
            item=f"{_SPLIT_OF[unit.kind]} images {unit.start}..{unit.stop - 1}",
            remedy="the snapshot is unusable; train with a lower train.learning_rate",
        )
    return tensors


def _sums(variance: Variance, steps: Tensor, decoder: Tensor, total: Tensor) -> dict[str, Tensor]:
    name = variance.value
    return {f"step_bpd_{name}": steps, f"decoder_bpd_{name}": decoder, f"total_bpd_{name}": total}
