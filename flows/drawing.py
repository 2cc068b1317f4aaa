"""Images drawn from a trained network: number format, labels, guidance and variance around the core's samplers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddpm_core.choices import Sampler, StepVariance, Variance
from ddpm_core.guidance import with_guidance
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.chain import Chain, OnStep
from ddpm_core.samplers.ddim import ddim_steps
from ddpm_core.samplers.table import SAMPLERS
from ddpm_core.schedule import NoiseSchedule, respace
from flows.snapshot import TrainedNetwork


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The function from image numbers to images: all noise of image i depends on (seed, i) alone.

    Attributes:
        trained: The network, on the device, with the schedule that it was trained with.
        device: The device of all computation.
        seed: Of x_T and of every z_t.
        sampler: The way from noise to an image.
        num_steps: Steps of the respaced chain; 0 for all T.
        dtype: Number format of matrix products.
        variance: The variance of the ancestral steps.
        eta: The noise of DDIM, 0..1.
        guidance_scale: Scale of classifier-free guidance; 1 for none.
        label: Number of the class to draw; -1 for each class in turn.
        untrained_classes: Classes without a training image, which are left out of the turn.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].

    Raises:
        ValueError: If the sampler needs a variance that the network did not learn.
    """

    trained: TrainedNetwork
    device: torch.device
    seed: int
    sampler: Sampler = Sampler.DDPM
    num_steps: int = 0
    dtype: torch.dtype = torch.float32
    variance: StepVariance = StepVariance.FIXED_LARGE
    eta: float = 0.0
    guidance_scale: float = 1.0
    label: int = -1
    untrained_classes: tuple[int, ...] = ()
    clip_x_start: bool = True

    def __post_init__(self) -> None:
        if self._uses_variance and self.variance.of(self.trained.variance) is None:
            raise ValueError("the network learned no variance")

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The chain that is run backwards, on the device.

        Raises:
            ValueError: If the schedule has fewer timesteps than `num_steps`.
        """
        # It is moved after it was respaced, because another device's products end in other bits.
        schedule = self.trained.schedule
        return respace(schedule, self.num_steps or schedule.num_timesteps).to(self.device)

    def __call__(self, ids: Tensor, on_step: OnStep | None = None) -> Tensor:
        """Return the images float [b, c, h, w] of these numbers, int64 [b], before they are quantised.

        Args:
            ids: The numbers of the images, on the network's device.
            on_step: Receives t and the predicted x_0 of each step.
        """
        return SAMPLERS[self.sampler](self._chain(ids, on_step), self._starting_noise(ids))

    def by_step(self, ids: Tensor) -> Iterator[Tensor]:
        """Yield x_t float [b, c, h, w] after each network call; the last one is the images. The sampler must be DDIM.

        Raises:
            ValueError: If the sampler is another one.
        """
        if self.sampler is not Sampler.DDIM:
            raise ValueError(f"step by step goes only the ddim sampler; got {self.sampler}")
        chain = self._chain(ids)
        yield from ddim_steps(
            chain.model,
            chain.schedule,
            self._starting_noise(ids),
            eta=chain.eta,
            noise=chain.noise,
            parameterisation=chain.parameterisation,
            clip_x_start=chain.clip_x_start,
        )

    def _size(self) -> tuple[int, int, int]:
        return self.trained.network.config.image_shape

    def _starting_noise(self, ids: Tensor) -> Tensor:
        return normal(self.seed, Stream.X_T, ids, self._size())

    def _chain(self, ids: Tensor, on_step: OnStep | None = None) -> Chain:
        return Chain(
            model=self._model(self.labels(ids)),
            schedule=self.schedule,
            noise=lambda t: normal(self.seed, Stream.Z_T, ids, self._size(), step=t),
            parameterisation=self.trained.parameterisation,
            clip_x_start=self.clip_x_start,
            # A sampler without a variance receives one that it ignores.
            variance=self.variance.of(self.trained.variance) or Variance.FIXED_LARGE,
            eta=self.eta,
            on_step=on_step,
        )

    def predict(self, ids: Tensor) -> Tensor:
        """Return the network's output for these numbers at the first step of the chain, from x_T = 0."""
        x_t = torch.zeros((len(ids), *self._size()), device=self.device)
        t = self.schedule.timesteps[-1].expand(len(ids))
        return self._model(self.labels(ids))(x_t, t)

    def labels(self, ids: Tensor) -> Tensor | None:
        """Return the label of each image, the one label or all classes in turn; None if the network has no classes."""
        classes = self.trained.network.config.num_classes - 1
        if classes < 0:
            return None
        if self.label >= 0:
            return torch.full_like(ids, self.label)
        drawn = [label for label in range(classes) if label not in self.untrained_classes]
        return ids % classes if len(drawn) == classes else torch.tensor(drawn, device=ids.device)[ids % len(drawn)]

    @property
    def _uses_variance(self) -> bool:
        return "variance" in self.sampler.uses

    def _model(self, labels: Tensor | None) -> Model:
        """Wrap the network for the sampler: bind labels, apply guidance, drop the variance channels if unused."""
        shape = self.trained.network.config
        predict = in_dtype(self.trained.network, self.dtype)
        model: Model = predict
        if labels is not None:
            model = with_guidance(predict, labels, shape.num_classes - 1, self.guidance_scale, shape.in_channels)
        if not shape.learned_variance or (self._uses_variance and self.variance == StepVariance.LEARNED):
            return model
        return lambda x_t, t: model(x_t, t)[:, : shape.in_channels]


def in_dtype(network: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return the network with its matrix products in this number format and its output in float32."""

    def predict(x_t: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        with torch.autocast(x_t.device.type, dtype=dtype, enabled=dtype != torch.float32):
            output = network(x_t, t, *labels)
        return output.float()

    return predict
