"""The differences between the network that training starts from and the settings: refused by name, or remarked on."""

import json
import shlex
from typing import Any, NamedTuple

import torch

from ddpm_core.choices import Loss, NetworkVariance, Parameterisation
from ddpm_core.network.image_size import ImageSize, image_sides, size_text
from ddpm_core.network.unet_config import UNetConfig
from flows.networks import attention_levels
from flows.snapshot import TrainedNetwork, make_schedule
from flows.stages.train.config import TrainConfig
from flows.stages.train.objective import schedule_settings
from infra.errors import ConfigError

# Settings that the shape of a network has under the same name.
_SHAPE = ("base_channels", "channel_mults", "num_res_blocks", "norm_groups", "num_heads", "scale_shift_norm")


class Misfit(NamedTuple):
    """A setting that does not fit the network.

    Attributes:
        setting: Its full name.
        here: Its value.
        there: The value that fits.
    """

    setting: str
    here: Any
    there: Any

    @property
    def line(self) -> str:
        """Both values in words."""
        return f"{self.setting} is {_text(self.here)} here, {_text(self.there)} there"

    @property
    def option(self) -> str:
        """The option of the command line that makes it fit."""
        return f"--set {self.setting}={shlex.quote(_text(self.there))}"


def check_fit(trained: TrainedNetwork, place: str, config: TrainConfig, image_size: ImageSize, channels: int) -> None:
    """Refuse a network that training with these settings cannot start from.

    Args:
        trained: The network.
        place: Where it was found.
        config: The settings of training.
        image_size: Of the images to train on.
        channels: Of the images to train on.

    Raises:
        ConfigError: If a setting does not fit; the line names each with both values, and ends with the options that
            make all of them fit.
    """
    item = f"train.initial {place}"
    if trained.parameterisation == Parameterisation.X_PREV:
        raise ConfigError("predicts x_prev, which training does not support", item=item, stage="train")
    found = misfits(trained, config, image_size, channels)
    if found:
        raise ConfigError(
            f"does not fit the settings: {', '.join(one.line for one in found)}",
            item=item,
            stage="train",
            remedy=" ".join(one.option for one in found),
        )


def misfits(trained: TrainedNetwork, config: TrainConfig, image_size: ImageSize, channels: int) -> list[Misfit]:
    """Return the settings that do not fit a network; arguments are those of `check_fit`.

    Another size of images fits if the same levels of the network have attention: no weight depends on the size.
    """
    shape = trained.network.config
    pairs: dict[str, tuple[Any, Any]] = {"prepare.channels": (channels, shape.in_channels)}
    pairs |= {f"train.{name}": (getattr(config, name), _plain(getattr(shape, name))) for name in _SHAPE}
    pairs["train.class_conditional"] = config.class_conditional, shape.num_classes > 0
    there = trained.variance.value if trained.variance else NetworkVariance.FIXED.value
    pairs["train.variance"] = config.variance.value, there
    if config.variance.value != there and (loss := _loss(config.loss, NetworkVariance(there))) != config.loss:
        pairs["train.loss"] = config.loss.value, loss.value
    pairs["train.parameterisation"] = config.parameterisation.value, trained.parameterisation.value
    pairs["train.num_timesteps"] = config.num_timesteps, trained.schedule.num_timesteps
    found = [Misfit(setting, here, there) for setting, (here, there) in pairs.items() if here != there]
    return found + _attention(shape, config, image_size)


def _attention(shape: UNetConfig, config: TrainConfig, image_size: ImageSize) -> list[Misfit]:
    sides = image_sides(image_size)
    if any(side % 2 ** (len(shape.channel_mults) - 1) for side in sides):
        return [Misfit("prepare.image_size", image_size, shape.image_size)]
    there = [min(sides) >> level for level in attention_levels(shape)]
    here = config.attention_resolutions
    return [Misfit("train.attention_resolutions", here, there)] if set(here) != set(there) else []


def _loss(loss: Loss, variance: NetworkVariance) -> Loss:
    """Return the loss, or one that goes with the variance if it does not."""
    if variance == NetworkVariance.FIXED:
        return Loss.SIMPLE if loss == Loss.HYBRID else loss
    return loss if loss in (Loss.BOUND, Loss.HYBRID) else Loss.HYBRID


def remarks(trained: TrainedNetwork, config: TrainConfig, image_size: ImageSize, classes: int) -> list[str]:
    """Return a remark on each difference that training can start with.

    Args:
        trained: The network, which fits the settings.
        config: The settings of training.
        image_size: Of the images to train on.
        classes: Their number of classes.
    """
    shape, found = trained.network.config, []
    if image_size != shape.image_size:
        of_network, of_data = size_text(shape.image_size), size_text(image_size)
        found.append(f"it was trained on images of {of_network} pixels, here they have {of_data}")
    if shape.num_classes and shape.num_classes - 1 != classes:
        found.append(
            f"it has {shape.num_classes - 1} classes, the data {classes}: their embeddings start afresh, that of no "
            "label is kept"
        )
    elif shape.num_classes:
        found.append(f"each of the {classes} classes starts as the network's class of the same number")
    here = make_schedule(**schedule_settings(config)).alphas_cumprod
    there = trained.schedule.alphas_cumprod
    if not torch.allclose(here, there, rtol=1e-9, atol=1e-12):
        middle = len(here) // 2
        found.append(
            "its noise schedule is another one, so it first learns the new noise levels: alpha-bar in the middle is "
            f"{float(here[middle]):.3g} here, {float(there[middle]):.3g} there"
        )
    return found


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _text(value: object) -> str:
    """Return a value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
