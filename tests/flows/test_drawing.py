"""Images from a network: the same for a number in every batch, by the class and the variance that are asked for."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Parameterisation, Sampler, StepVariance, Variance
from ddpm_core.rng import Stream, normal
from ddpm_core.schedule import linear_schedule
from flows.drawing import Drawing, in_dtype
from flows.snapshot import TrainedNetwork

CPU = torch.device("cpu")


class ClassMeans:
    """The exact x_0-predictor of classes that are one constant image each: class c is c / 10; the last is no label."""

    def __init__(self, classes: int, *, learned_variance: bool = False) -> None:
        self.config = SimpleNamespace(
            num_classes=classes + 1 if classes else 0,
            in_channels=1,
            image_shape=(1, 4, 4),
            learned_variance=learned_variance,
        )

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        value = torch.zeros(len(x_t)) if labels is None else labels / 10
        predicted = value[:, None, None, None].expand_as(x_t)
        return torch.cat((predicted, torch.ones_like(x_t)), dim=1) if self.config.learned_variance else predicted


def drawing(classes: int = 3, *, learned: Variance | None = None, **options: Any) -> Drawing:
    network: Any = ClassMeans(classes, learned_variance=learned is not None)
    trained = TrainedNetwork(network, linear_schedule(20), Parameterisation.X_START, learned)
    return Drawing(trained=trained, device=CPU, seed=5, **options)


def test_each_class_in_turn_or_one() -> None:
    ids = torch.arange(5)
    assert drawing()(ids)[:, 0, 0, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0, 0.1], abs=1e-6)
    assert drawing(label=2)(ids)[:, 0, 0, 0].tolist() == pytest.approx([0.2] * 5, abs=1e-6)
    assert drawing(0).labels(ids) is None


def test_a_class_that_training_lacks_is_never_drawn() -> None:
    assert drawing(untrained_classes=(1,)).labels(torch.arange(5)).tolist() == [0, 2, 0, 2, 0]
    assert drawing(4, untrained_classes=(0, 3)).labels(torch.arange(3)).tolist() == [1, 2, 1]
    assert drawing(label=1, untrained_classes=(0,)).labels(torch.arange(2)).tolist() == [1, 1]


def test_guidance_moves_away_from_no_label() -> None:
    drawn = drawing(label=1, guidance_scale=3.0)(torch.arange(1))
    assert drawn[0, 0, 0, 0].item() == pytest.approx(0.3 + 3 * (0.1 - 0.3), abs=1e-6), "class 3 stands for no label"


@pytest.mark.parametrize("sampler", list(Sampler))
def test_an_image_is_a_function_of_its_number(sampler: Sampler) -> None:
    """The chain is cut at its first step, where the noise still shows."""
    kept: list[Tensor] = []

    class Identity(ClassMeans):
        def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            kept.append(x_t)
            return x_t

    network: Any = Identity(0)
    trained = TrainedNetwork(network, linear_schedule(20), Parameterisation.X_START, None)
    draw = Drawing(trained=trained, device=CPU, seed=5, sampler=sampler, num_steps=4)
    together, alone = draw(torch.tensor([7, 8, 9])), draw(torch.tensor([8]))
    assert torch.equal(together[1:2], alone)
    torch.testing.assert_close(kept[0], normal(5, Stream.X_T, torch.tensor([7, 8, 9]), (1, 4, 4)))  # ODE rescales it


def test_the_steps_of_the_respaced_chain() -> None:
    seen: list[int] = []
    drawing(sampler=Sampler.DDIM, num_steps=4)(torch.arange(1), lambda t, _: seen.append(t))
    assert seen == [3, 2, 1, 0]
    with pytest.raises(ValueError, match=r"num_steps must lie in 2\.\.20"):
        drawing(num_steps=21)(torch.arange(1))


def test_a_variance_that_was_not_learned() -> None:
    with pytest.raises(ValueError, match="learned no variance"):
        drawing(variance=StepVariance.LEARNED)
    drawing(variance=StepVariance.LEARNED, sampler=Sampler.DDIM)(torch.arange(1)), "ddim uses none"


def test_the_channels_of_a_learned_variance() -> None:
    for variance in StepVariance:
        drawn = drawing(learned=Variance.LEARNED_RANGE, variance=variance, label=1)(torch.arange(2))
        assert drawn.shape == (2, 1, 4, 4)
        assert drawn.mean().item() == pytest.approx(0.1, abs=1e-6)


def test_the_number_format_is_of_matrix_products_only() -> None:
    weight = torch.full((1, 3), 1 + 2.0**-12)
    rounded = in_dtype(lambda x_t, t: x_t @ weight.T, torch.bfloat16)(torch.ones(1, 3), torch.zeros(1))
    exact = in_dtype(lambda x_t, t: x_t @ weight.T, torch.float32)(torch.ones(1, 3), torch.zeros(1))
    assert rounded.dtype == exact.dtype == torch.float32
    assert rounded.item() == 3
    assert exact.item() == pytest.approx(3 * (1 + 2.0**-12), rel=1e-7)


def test_step_by_step_leads_to_the_same_images() -> None:
    ids = torch.arange(2)
    ddim = drawing(sampler=Sampler.DDIM, num_steps=4, eta=0.5)
    steps = list(ddim.by_step(ids))
    assert len(steps) == 4
    assert torch.equal(steps[-1], ddim(ids))
    with pytest.raises(ValueError, match="only the ddim sampler; got ddpm"):
        next(drawing().by_step(ids))
