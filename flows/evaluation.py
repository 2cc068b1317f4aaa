"""The units of the evaluation and how their results become figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from ddpm_core.diffusion import FIXED_VARIANCES
from ddpm_core.frechet import FeatureStats, frechet_distance
from ddpm_core.guidance import with_labels
from ddpm_core.images import to_model_range
from ddpm_core.likelihood import BitsPerDim, bits_per_dim_by_variance, rate_distortion
from ddpm_core.rng import Stream, normal
from flows.config import EvaluateConfig
from flows.snapshot import Snapshot, channels_last, decode_snapshot
from infra.checkpoint import decode_tensors, encode_tensors
from infra.dataset import DatasetReader
from infra.device import prepare_process
from infra.errors import DivergedError
from infra.features import Classifier, Extractor
from infra.plan import Manifest, Output, read_verified

Part = tuple["Unit", dict[str, Tensor]]
CURVES = "curves"
_TOTAL = "total_bpd_"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Some images of one kind: held-out ones for the bound, training ones for the reference, or samples."""

    kind: Literal["bound", "reference", "samples"] | str
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
            tensors = worker.bound(unit) if unit.kind == "bound" else worker.feature_sums(unit)
            self.output.commit(f"units/{number:06d}", "safetensors", encode_tensors(tensors, {}), {"kind": unit.kind})

        return run


class _Worker:
    """What a worker has loaded; each part when the first unit needs it."""

    def __init__(self, task: EvaluateTask) -> None:
        self.task = task
        self.store = task.output.store
        self.device = torch.device(task.config.device)

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
    def snapshot(self) -> Snapshot:
        trained = self.task.trained
        data = read_verified(self.store, trained.folder, trained.units[0])
        loaded = decode_snapshot(data, trained.units[0]["file"])
        network = channels_last(loaded.network.to(self.device))
        return loaded._replace(network=network, schedule=loaded.schedule.to(self.device))

    @cached_property
    def held_out(self) -> tuple[Tensor, Tensor]:
        images, labels = DatasetReader(store=self.store, manifest=self.task.dataset).load("test")
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    @cached_property
    def compared(self) -> dict[str, Tensor]:
        data = DatasetReader(store=self.store, manifest=self.task.dataset)
        drawn = DatasetReader(store=self.store, manifest=self.task.samples)
        loaders = {"reference": lambda: data.load("train"), "samples": lambda: drawn.load("samples")}
        needed = {unit.kind for unit in self.task.units}
        return {kind: torch.from_numpy(load()[0]) for kind, load in loaders.items() if kind in needed}

    def feature_sums(self, unit: Unit) -> dict[str, Tensor]:
        """Count, sum and sum of outer products of the features."""
        features = self.extractor(self.compared[unit.kind][unit.start : unit.stop])
        stats = FeatureStats.empty(features.shape[1]).update(features)
        return {"count": torch.tensor(stats.count), "total": stats.total, "outer": stats.outer}

    @torch.inference_mode()
    def bound(self, unit: Unit) -> dict[str, Tensor]:
        """Every term of the bound of some held-out images; image i's noise is a function of (seed, i).

        A network that has classes is told each image's own: the bound is on -log p(x_0 | label).
        """
        config = self.task.config
        network, schedule, parameterisation, learned = self.snapshot
        images, labels = (held_out[unit.start : unit.stop] for held_out in self.held_out)
        # One fixed compute batch: the last one is filled up with copies, which are dropped again.
        last = torch.full((config.batch_size,), len(images) - 1)
        places = torch.minimum(torch.arange(config.batch_size), last)
        ids = torch.arange(unit.start, unit.start + config.batch_size, device=self.device)
        shape = (images.shape[1], images.shape[2], images.shape[3])
        variances = FIXED_VARIANCES if learned is None else (*FIXED_VARIANCES, learned)
        results = bits_per_dim_by_variance(
            with_labels(network, labels[places].to(self.device)) if network.config.num_classes else network,
            schedule,
            to_model_range(images[places].to(self.device)),
            noise=lambda t: normal(config.seed, Stream.NLL, ids, shape, step=t),
            variances=variances,
            parameterisation=parameterisation,
        )
        tensors = {
            "prior_bpd": results[0].prior_bpd,
            "eps_mse": results[0].eps_mse,
            "x_start_mse": results[0].x_start_mse,
        }
        for variance, result in zip(variances, results, strict=True):
            tensors[f"step_bpd_{variance.value}"] = result.step_bpd
            tensors[f"decoder_bpd_{variance.value}"] = result.decoder_bpd
            tensors[f"total_bpd_{variance.value}"] = result.total_bpd
        kept = {name: tensor[: len(images)].cpu() for name, tensor in tensors.items()}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in kept.values()):
            raise DivergedError(
                "the bound is not finite",
                stage="evaluate",
                item=f"held-out images {unit.start}..{unit.stop - 1}",
                remedy="the snapshot is unusable; train with a lower train.learning_rate",
            )
        return kept


def summarise(parts: Sequence[Part], extractor: str) -> dict[str, float]:
    """Turn the units' results into figures; sums run in the order of the units, in float64."""
    distance = frechet_distance(_stats(parts, "samples"), _stats(parts, "reference"))
    metrics = {f"eval/{extractor}": distance}
    for name in _variances(parts):
        totals = _column(parts, f"{_TOTAL}{name}")
        metrics[f"eval/bits_per_dim_{name}"] = float(totals.mean())
        metrics[f"eval/bits_per_dim_{name}_stderr"] = float(totals.std() / len(totals) ** 0.5)
        metrics[f"eval/decoder_bpd_{name}"] = float(_column(parts, f"decoder_bpd_{name}").mean())
        metrics[f"eval/step_bpd_{name}"] = float(_column(parts, f"step_bpd_{name}").sum(1).mean())
    metrics["eval/prior_bpd"] = float(_column(parts, "prior_bpd").mean())
    metrics["eval/eps_mse"] = float(_column(parts, "eps_mse").mean())
    metrics["eval/bpd_images"] = float(len(_column(parts, "prior_bpd")))
    metrics["eval/fd_samples"] = float(_stats(parts, "samples").count)
    return metrics


def summarise_curves(parts: Sequence[Part]) -> dict[str, Any]:
    """What the figures are sums of, by timestep t = 0..T-1; means over the held-out images.

    Returns:
        `rmse` of the predicted x_0 on the scale 0..255; by variance `step_bpd`, the term of each t, the decoder's at
        t = 0, and `rate`, the bits/dim sent once x_t is known (`ddpm_core.likelihood.rate_distortion`).
    """
    by_variance, rmse = {}, torch.empty(0)
    for name in _variances(parts):
        bound = BitsPerDim(
            prior_bpd=_column(parts, "prior_bpd"),
            step_bpd=_column(parts, f"step_bpd_{name}"),
            decoder_bpd=_column(parts, f"decoder_bpd_{name}"),
            total_bpd=_column(parts, f"{_TOTAL}{name}"),
            eps_mse=_column(parts, "eps_mse"),
            x_start_mse=_column(parts, "x_start_mse"),
        )
        rate, rmse = rate_distortion(bound)
        terms = torch.cat((bound.decoder_bpd[:, None], bound.step_bpd), dim=1).mean(0)
        by_variance[name] = {"step_bpd": terms.tolist(), "rate": rate.tolist()}
    return {"rmse": rmse.tolist(), "variances": by_variance}


def _variances(parts: Sequence[Part]) -> list[str]:
    bound = next(tensors for unit, tensors in parts if unit.kind == "bound")
    return sorted(name.removeprefix(_TOTAL) for name in bound if name.startswith(_TOTAL))


def _column(parts: Sequence[Part], name: str) -> Tensor:
    return torch.cat([tensors[name] for unit, tensors in parts if unit.kind == "bound"])


def _stats(parts: Sequence[Part], kind: str) -> FeatureStats:
    sums = [tensors for unit, tensors in parts if unit.kind == kind]
    total = FeatureStats.empty(len(sums[0]["total"]))
    for part in sums:
        total = total.merge(FeatureStats(count=int(part["count"]), total=part["total"], outer=part["outer"]))
    return total
