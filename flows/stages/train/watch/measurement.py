"""The measurement of one point, in slices of one network batch: losses, bound, grid and distance on fixed noise.

All noise is a function of (seed, stream, image, timestep), so that the figures of two points, measured by different
workers in different slices, differ by their networks alone.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ddpm_core.choices import Loss, Sampler, Variance
from ddpm_core.diffusion import q_sample, timestep_batch
from ddpm_core.guidance import with_labels, without_classes
from ddpm_core.images import to_model_range, to_uint8
from ddpm_core.likelihood.estimate import estimate_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.metrics.blocks import random_groups
from ddpm_core.metrics.estimate import Estimate, mean_of
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.jackknife import GROUPS, jackknife
from ddpm_core.objective import Objective, simple_loss
from ddpm_core.prediction import Model, target
from ddpm_core.rng import Stream, normal, uniform
from ddpm_core.schedule import NoiseSchedule
from flows.drawing import Drawing
from flows.points import PointFigures
from flows.snapshot import TrainedNetwork
from flows.stages.train.watch.images import WatchedImages, reference_statistics
from infra.compute.device import exact_float32
from infra.features.pixels import averaged_pixels
from infra.outputs.images import DatasetReader

# Timesteps of the loss: the middles of as many equal parts of 0..T-1.
LOSS_TIMESTEPS = 10
# Timesteps of the bound's estimate per image, beside L_0.
_BOUND_TIMESTEPS = 7
GRID_IMAGES = 16
_DDIM_STEPS = 25
# No seed of the run: which samples are left out together concerns the error of a distance alone.
_GROUPS_SEED = 0

Slices = Generator[None, None, None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result at one point.

    Attributes:
        figures: The figures.
        tensors: `losses` float32 [n, timesteps] and `bits_per_dim` float64 [n] of each image, and the `grid`, uint8
            [16, c, h, w].
    """

    figures: PointFigures
    tensors: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measures points; what all points share is computed once.

    Attributes:
        watched: The images of the losses and the bound.
        reader: The data set, for the distance's reference.
        objective: The loss that training minimises.
        seed: Of all noise.
        batch_size: Images in a network call, at most.
        device: The device of all computation.
        dtype: Number format of matrix products when images are drawn; losses and bound are computed in float32.
        untrained_classes: Classes without a training image: none is drawn, and their images are measured without label.
    """

    watched: WatchedImages
    reader: DatasetReader
    objective: Objective
    seed: int
    batch_size: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    untrained_classes: tuple[int, ...] = ()

    @torch.inference_mode()
    def measure(self, trained: TrainedNetwork, samples: int = 0) -> Generator[None, None, Measured]:
        """Measure one point; the generator pauses after about one network batch of work and returns the result.

        Args:
            trained: The network of the averaged weights, on the device and in evaluation mode.
            samples: Images to draw for the distance; 0 to leave it out.
        """
        count = len(self.watched.ids)
        device_schedule = trained.schedule.to(self.device)
        losses, objectives = (torch.zeros(count, LOSS_TIMESTEPS) for _ in range(2))
        yield from self._losses(trained, device_schedule, losses, objectives)
        bits = torch.zeros(count, dtype=torch.float64)
        yield from self._bound(trained, device_schedule, bits)
        drawn = yield from self._draw(trained, max(samples, GRID_IMAGES))
        distance = (yield from self._distance(drawn[:samples])) if samples > 1 else None
        loss, bound = mean_of(losses.double().mean(1)), mean_of(bits)
        at_each = [mean_of(column) for column in losses.double().T]
        minimised = None if self.objective.loss is Loss.SIMPLE else mean_of(objectives.double().mean(1))
        figures = PointFigures(
            split=self.watched.split,
            images=count,
            timesteps=loss_timesteps(trained.schedule.num_timesteps).tolist(),
            losses=[one.value for one in at_each],
            losses_stderr=[one.standard_error for one in at_each],
            loss=loss.value,
            loss_stderr=loss.standard_error,
            bits_per_dim=bound.value,
            bits_per_dim_stderr=bound.standard_error,
            objective=minimised and minimised.value,
            objective_stderr=minimised and minimised.standard_error,
            samples=0 if distance is None else samples,
            fd_pixels=distance and distance.value,
            fd_pixels_stderr=distance and distance.standard_error,
        )
        tensors = {"losses": losses, "bits_per_dim": bits, "grid": drawn[:GRID_IMAGES]}
        return Measured(figures=figures, tensors=tensors)

    def _losses(self, trained: TrainedNetwork, schedule: NoiseSchedule, losses: Tensor, objectives: Tensor) -> Slices:
        """Fill in L_simple and the loss of training, [n, timesteps]; one network batch per slice."""
        for place, t in enumerate(loss_timesteps(schedule.num_timesteps).tolist()):
            for batch in self._batches(trained, self.batch_size):
                steps, noise = timestep_batch(t, batch.x_start), batch.noise(Stream.WATCH_LOSS, t)
                output = batch.model(q_sample(schedule, batch.x_start, steps, noise), schedule.timesteps[steps])
                expected = target(schedule, batch.x_start, noise, steps, trained.parameterisation)
                simple = simple_loss(expected, output[:, : batch.x_start.shape[1]])
                losses[batch.rows, place] = simple[: batch.count].float().cpu()
                if self.objective.loss is not Loss.SIMPLE:
                    minimised = self.objective(schedule, output, batch.x_start, noise, steps)
                    objectives[batch.rows, place] = minimised[: batch.count].float().cpu()
                yield

    def _bound(self, trained: TrainedNetwork, schedule: NoiseSchedule, bits: Tensor) -> Slices:
        """Fill in the estimate of the bound, [n]; fewer images per slice, since each takes several network calls."""
        proposal = TimestepProposal.of_gaussian_data(schedule)
        for batch in self._batches(trained, max(1, self.batch_size // (_BOUND_TIMESTEPS + 1))):
            (estimate,) = estimate_bits_per_dim(
                batch.model,
                schedule,
                batch.x_start,
                noise=partial(batch.noise, Stream.WATCH_BOUND),
                uniforms=uniform(self.seed, Stream.WATCH_T, batch.ids, (_BOUND_TIMESTEPS,)).double(),
                proposal=proposal,
                variances=[trained.variance or Variance.FIXED_LARGE],
                parameterisation=trained.parameterisation,
            )
            bits[batch.rows] = estimate.total_bpd[: batch.count].cpu()
            yield

    def _draw(self, trained: TrainedNetwork, count: int) -> Generator[None, None, Tensor]:
        """Return images 0..count-1, uint8, by DDIM; one network call per slice."""
        steps = min(_DDIM_STEPS, trained.schedule.num_timesteps)
        drawing = Drawing(
            trained=trained,
            device=self.device,
            seed=self.seed,
            sampler=Sampler.DDIM,
            num_steps=steps,
            untrained_classes=self.untrained_classes,
            dtype=self.dtype,
        )
        parts = []
        for first in range(0, count, self.batch_size):
            ids = torch.arange(first, min(first + self.batch_size, count), device=self.device)
            for x_t in drawing.by_step(ids):
                last = x_t
                yield
            parts.append(to_uint8(last.float().nan_to_num()).cpu())
        return torch.cat(parts)

    def _distance(self, drawn: Tensor) -> Generator[None, None, Estimate | None]:
        """Return the Fréchet distance of the drawn images' averaged pixels to those of training images.

        None if there is one training image, which has no covariance.
        """
        if not self._reference:
            for stats in reference_statistics(self.reader):
                self._reference[:] = [stats]
                yield
        features, reference = averaged_pixels(drawn), self._reference[0]
        if reference.count < 2:
            return None
        total = FeatureStats.empty(features.shape[1]).update(features)
        value = frechet_distance(total, reference)
        yield
        # Below that a covariance without a group has less than full rank, and the jackknife does not hold.
        if len(drawn) // GROUPS * (GROUPS - 1) <= features.shape[1]:
            return Estimate(value, None)
        left_out, groups = [], random_groups(_GROUPS_SEED, len(drawn), 0, GROUPS)
        for group in groups:
            part = FeatureStats.empty(features.shape[1]).update(features[group])
            left_out.append(frechet_distance(total.without(part), reference))
            yield
        return Estimate(value, jackknife(value, left_out, [len(group) for group in groups]).standard_error)

    @cached_property
    def _reference(self) -> list[FeatureStats]:
        """The sums over training images, once they are computed."""
        return []

    def _batches(self, trained: TrainedNetwork, size: int) -> Iterator["_Batch"]:
        """Cut the images into batches of one size, the last filled up with copies, so that all have the same shape."""
        watched, conditional = self.watched, bool(trained.network.config.num_classes)
        total = len(watched.ids)
        size = min(size, total)
        for first in range(0, total, size):
            rows = torch.arange(first, first + size).clamp(max=total - 1)
            labels = watched.labels[rows].to(self.device)
            if conditional:
                no_label = trained.network.config.num_classes - 1
                labels = without_classes(labels, self.untrained_classes, no_label)
            yield _Batch(
                rows=slice(first, min(first + size, total)),
                ids=watched.ids[rows].to(self.device),
                x_start=to_model_range(watched.images[rows].to(self.device)),
                model=_in_float32(with_labels(trained.network, labels) if conditional else trained.network),
                seed=self.seed,
            )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """One network batch; images past those of `rows` are copies."""

    rows: slice
    ids: Tensor
    x_start: Tensor
    model: Model
    seed: int

    @property
    def count(self) -> int:
        return int(self.rows.stop - self.rows.start)

    def noise(self, stream: Stream, step: int) -> Tensor:
        return normal(self.seed, stream, self.ids, tuple(self.x_start.shape[1:]), step=step)


def _in_float32(model: Model) -> Model:
    """Return the model in exact float32, also in a process that trains in TF32."""

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        with exact_float32():
            return model(x_t, t)

    return predict


def loss_timesteps(num_timesteps: int) -> Tensor:
    """The middles of ten equal parts of 0..T-1, so that the mean over them is close to that over uniform t."""
    return ((torch.arange(LOSS_TIMESTEPS) + 0.5) * num_timesteps / LOSS_TIMESTEPS).long()


def run_to_end(slices: Generator[None, None, Measured]) -> Measured:
    """Return the result of a measurement, all its slices one after the other."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            measured: Measured = end.value
            return measured
