"""Turn a class-conditional network into the callable `(x_t, t)` that samplers and the bound take, guided or not."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddpm_core.prediction import Model

ConditionalModel = Callable[
    [Float[Tensor, "b c h w"], Int64[Tensor, " b"], Int64[Tensor, " b"]], Float[Tensor, "b c_out h w"]
]


def with_labels(model: ConditionalModel, labels: Int64[Tensor, " b"]) -> Model:
    """Condition the network on these labels: (x_t, t) -> model(x_t, t, labels)."""
    return partial(_call_with, model, labels)


def _call_with(
    model: ConditionalModel, labels: Int64[Tensor, " b"], x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"]
) -> Float[Tensor, "b c_out h w"]:
    return model(x_t, t, labels)


def without_classes(labels: Int64[Tensor, " b"], classes: Sequence[int], no_label: int) -> Int64[Tensor, " b"]:
    """Replace labels of some classes, and negative ones, by the one for no label.

    Args:
        labels: One class per image; negative if it has none.
        classes: The classes to replace, such as those that training never saw.
        no_label: The class that stands for no label.
    """
    replaced = torch.isin(labels, torch.tensor(classes, dtype=labels.dtype, device=labels.device)) | (labels < 0)
    return torch.where(replaced, no_label, labels)


def with_guidance(
    model: ConditionalModel, labels: Int64[Tensor, " b"], no_label: int, scale: float, channels: int
) -> Model:
    """Classifier-free guidance: f(no label) + scale (f(label) - f(no label)), from one call on a doubled batch.

    Ho and Salimans 2022, eq. (6), with scale = 1 + w. The formula is linear in the prediction, so it is the same for
    eps, x_0 and v. A learned variance comes from the call with the label.

    Args:
        model: The network, trained with some labels replaced by `no_label`.
        labels: One class per image.
        no_label: The class that stands for no label.
        scale: 1 is the conditional network and 0 the unconditional one; above 1 moves away from the unconditional one.
        channels: Channels of the images; further channels of the output hold the variance.

    Raises:
        ValueError: If the scale is negative.
    """
    if not scale >= 0:
        raise ValueError(f"guidance scale must be 0 or above; got {scale}")
    if scale == 1:
        return with_labels(model, labels)
    both = torch.cat((labels, torch.full_like(labels, no_label)))

    def guided(x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"]) -> Float[Tensor, "b c_out h w"]:
        conditional, unconditional = model(torch.cat((x_t, x_t)), torch.cat((t, t)), both).chunk(2)
        labelled, unlabelled = conditional[:, :channels], unconditional[:, :channels]
        return torch.cat((unlabelled + scale * (labelled - unlabelled), conditional[:, channels:]), dim=1)

    return guided
