"""Classifier-free guidance: the line through two predictions, and a data distribution sharpened as theory says."""

import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Parameterisation
from ddpm_core.guidance import with_guidance, with_labels, without_classes
from ddpm_core.prediction import convert, predict_x_start
from ddpm_core.samplers.ode import ode_sample
from ddpm_core.schedule import linear_schedule, respace
from tests.oracles.denoisers import gaussian

MEANS = (0.4, -0.2)  # of class 0, and of no class
VARIANCES = (0.09, 0.25)


def two_gaussians(alphas_cumprod: Tensor):
    """A network that was told label 0 or 1: the best for one Gaussian or the other."""
    parts = [gaussian(alphas_cumprod, m, v) for m, v in zip(MEANS, VARIANCES, strict=True)]

    def model(x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return torch.where(labels.reshape(-1, 1, 1, 1) == 0, parts[0](x_t, t), parts[1](x_t, t))

    return model


def labelled(x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    return x_t * labels.reshape(-1, 1, 1, 1) + t.reshape(-1, 1, 1, 1)


def test_scale_one_is_the_conditional_network_and_zero_the_unconditional():
    x, t, labels = torch.randn(3, 1, 2, 2), torch.tensor([4, 5, 6]), torch.tensor([1, 2, 1])
    assert torch.equal(with_guidance(labelled, labels, 3, 1.0, 1)(x, t), labelled(x, t, labels))
    assert torch.equal(with_labels(labelled, labels)(x, t), labelled(x, t, labels))
    torch.testing.assert_close(with_guidance(labelled, labels, 3, 0.0, 1)(x, t), labelled(x, t, torch.full((3,), 3)))


@pytest.mark.parametrize("scale", [0.5, 2.0, 7.5])
def test_guidance_goes_on_along_the_line(scale):
    x, t, labels = torch.randn(2, 1, 2, 2), torch.tensor([4, 5]), torch.tensor([1, 2])
    told, none = labelled(x, t, labels), labelled(x, t, torch.full((2,), 3))
    torch.testing.assert_close(with_guidance(labelled, labels, 3, scale, 1)(x, t), none + scale * (told - none))


def test_a_learned_variance_is_the_labels():
    def model(x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return torch.cat((x_t * 0 + labels.reshape(-1, 1, 1, 1), x_t * 0 + 10 * labels.reshape(-1, 1, 1, 1)), dim=1)

    output = with_guidance(model, torch.tensor([2]), 1, 3.0, 1)(torch.zeros(1, 1, 1, 1), torch.tensor([0]))
    assert output.flatten().tolist() == [1 + 3 * (2 - 1), 20]


def test_guiding_eps_guides_x_start_and_v_alike():
    schedule = linear_schedule(50)
    model, x, t, labels = two_gaussians(schedule.alphas_cumprod), torch.randn(4, 1, 1, 1).double(), 20, torch.zeros(4)
    steps, labels = torch.full((4,), t), labels.long()
    by_eps = with_guidance(model, labels, 1, 3.0, 1)(x, steps)
    for other in (Parameterisation.X_START, Parameterisation.V):

        def converted(x_t: Tensor, t: Tensor, labels: Tensor, other: Parameterisation = other) -> Tensor:
            return convert(schedule, x_t, t, model(x_t, t, labels), source=Parameterisation.EPS, to=other)

        guided = with_guidance(converted, labels, 1, 3.0, 1)(x, steps)
        torch.testing.assert_close(
            predict_x_start(schedule, x, steps, guided, other), predict_x_start(schedule, x, steps, by_eps)
        )


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_guided_flow_is_that_of_the_guided_score(scale):
    """The flow of score (1 - s) grad log q(x_t) + s grad log q(x_t | 0) for Gaussians is linear: its map by RK4."""
    schedule = linear_schedule(1000)
    x_T = torch.tensor([-1.5, -0.3, 0.2, 1.9]).double().reshape(-1, 1, 1, 1)
    labels = torch.zeros(4, dtype=torch.int64)
    model = with_guidance(two_gaussians(schedule.alphas_cumprod), labels, 1, scale, 1)
    drawn = ode_sample(model, respace(schedule, 200), x_T)

    # dy / dsigma = eps(x) with y = x / sqrt(alpha-bar): eps_i = sigma (y - m_i) / (v_i + sigma^2).
    sigma = float((1 / schedule.alphas_cumprod[-1] - 1).sqrt())
    y = x_T / float(schedule.alphas_cumprod[-1].sqrt())

    def slope(y: Tensor, s: float) -> Tensor:
        told, none = (s * (y - m) / (v + s * s) for m, v in zip(MEANS, VARIANCES, strict=True))
        return none + scale * (told - none)

    # Even steps in log sigma, down to where nothing changes any more.
    ratio = (1e-6 / sigma) ** (1 / 4000)
    for _ in range(4000):
        h = sigma * ratio - sigma
        k1 = slope(y, sigma)
        k2 = slope(y + h / 2 * k1, sigma + h / 2)
        k3 = slope(y + h / 2 * k2, sigma + h / 2)
        k4 = slope(y + h * k3, sigma + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        sigma += h
    torch.testing.assert_close(drawn, y, rtol=2e-3, atol=2e-3)


def test_a_negative_scale_is_refused():
    with pytest.raises(ValueError, match="guidance scale must be 0 or above; got -1"):
        with_guidance(labelled, torch.tensor([0]), 1, -1.0, 1)


def test_some_classes_are_replaced_by_no_label() -> None:
    labels = torch.tensor([0, 1, 2, 1])
    assert without_classes(labels, (1, 5), 9).tolist() == [0, 9, 2, 9]
    assert torch.equal(without_classes(labels, (), 9), labels)
    assert without_classes(torch.tensor([-1, 0]), (), 9).tolist() == [9, 0], "an image without a class"
