import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ddpm_core.schedule import linear_schedule, respace
from ddpm_core.train_step import StepConfig, StepResult, learning_rate, train_step
from ddpm_core.training_order import TrainingNoise, training_noise
from tests.oracles.denoisers import optimal_eps_mse

SCHEDULE = linear_schedule(10, 0.02, 0.4)


class Toy(nn.Module):
    """eps_theta(x, t) = scale_t x + shift_t: for Gaussian data the best network there is."""

    def __init__(self, num_timesteps: int = 10) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(num_timesteps))
        self.shift = nn.Parameter(torch.zeros(num_timesteps))
        self.told: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.told += t.tolist()
        return self.scale[t][:, None, None, None] * x_t + self.shift[t][:, None, None, None]


def batch(first: int, count: int) -> tuple[Tensor, TrainingNoise]:
    generator = torch.Generator().manual_seed(first)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return images, training_noise(0, torch.arange(first, first + count), 10, (1, 4, 4))


def part(images: Tensor, noise: TrainingNoise, where: slice) -> tuple[Tensor, TrainingNoise]:
    return images[where], TrainingNoise(*(values[where] for values in noise))


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]


def step(model: nn.Module, images: Tensor, noise: TrainingNoise, **more: object) -> StepResult:
    config = StepConfig(**{"global_batch_size": len(images), "grad_clip": math.inf} | more)
    return train_step(model, torch.optim.SGD(model.parameters(), lr=1.0), SCHEDULE, images, noise, config)


def loss_by_hand(model: nn.Module, images: Tensor, noise: TrainingNoise) -> Tensor:
    """Algorithm 1, image by image: |eps - eps_theta(sqrt(abar) x_0 + sqrt(1 - abar) eps, t)|^2 / size."""
    total = torch.zeros(())
    for i in range(len(images)):
        cumprod = float(torch.prod(1 - SCHEDULE.betas[: int(noise.t[i]) + 1]))
        x_t = math.sqrt(cumprod) * (images[i].float() / 127.5 - 1) + math.sqrt(1 - cumprod) * noise.eps[i]
        total = total + (noise.eps[i] - model(x_t[None], noise.t[i : i + 1])[0]).square().sum() / images[i].numel()
    return total


def test_a_step_descends_the_gradient_of_algorithm_1():
    images, noise = batch(0, 6)
    model = Toy()
    nn.init.constant_(model.scale, 0.3)
    by_hand = loss_by_hand(model, images, noise)
    expected = torch.autograd.grad(by_hand / 6, list(model.parameters()))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    result = step(model, images, noise)
    assert result.applied
    torch.testing.assert_close(result.loss_sum, by_hand.detach())
    assert torch.equal(result.losses.sum(), result.loss_sum)
    torch.testing.assert_close(result.grad_norm, torch.cat(expected).norm())
    for parameter, start, gradient in zip(model.parameters(), before, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), start - gradient)


@pytest.mark.parametrize("cuts", [[0, 4, 8], [0, 3, 8], [0, 1, 2, 8]], ids=["4+4", "3+5", "1+1+6"])
def test_the_mean_of_the_workers_gradients_is_one_workers(cuts):
    images, noise = batch(0, 8)
    model = Toy()
    whole = step(copy.deepcopy(model), images, noise)
    single = copy.deepcopy(model)
    step(single, images, noise)
    workers, losses = [], []
    for first, last in pairwise(cuts):
        worker = copy.deepcopy(model)
        share = part(images, noise, slice(first, last))
        losses.append(step(worker, *share, global_batch_size=8, world_size=len(cuts) - 1).loss_sum)
        workers.append(gradients(worker))
    for own, expected in zip(zip(*workers, strict=True), gradients(single), strict=True):
        torch.testing.assert_close(sum(own) / len(workers), expected)
    torch.testing.assert_close(sum(losses), whole.loss_sum)


def test_a_gradient_is_clipped_to_the_bound_in_its_own_direction():
    images, noise = batch(0, 8)
    free, clipped = Toy(), Toy()
    norm = step(free, images, noise).grad_norm
    bound = float(norm) / 4
    result = step(clipped, images, noise, grad_clip=bound)
    assert float(result.grad_norm) == pytest.approx(float(norm))
    for one, other in zip(gradients(free), gradients(clipped), strict=True):
        torch.testing.assert_close(other, one / 4, rtol=1e-4, atol=1e-7)
    assert float(torch.cat(gradients(clipped)).norm()) == pytest.approx(bound, rel=1e-4)


def test_a_small_gradient_is_not_clipped():
    images, noise = batch(0, 8)
    free, bounded = Toy(), Toy()
    step(free, images, noise)
    step(bounded, images, noise, grad_clip=1e6)
    assert all(torch.equal(one, other) for one, other in zip(gradients(free), gradients(bounded), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("grad_clip", [1.0, math.inf])
def test_a_step_whose_gradient_is_not_finite_changes_neither_weights_nor_moments(value, grad_clip):
    model = Toy()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    config = StepConfig(global_batch_size=8, grad_clip=grad_clip)
    images, noise = batch(0, 8)
    train_step(model, optimizer, SCHEDULE, images, noise, config)
    weights, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])

    broken = noise._replace(eps=noise.eps.clone())
    broken.eps[3, 0, 0, 0] = value
    result = train_step(model, optimizer, SCHEDULE, images, broken, config)
    assert not result.applied
    assert not bool(torch.isfinite(result.grad_norm))
    assert all(torch.equal(now, weights[name]) for name, now in model.state_dict().items())
    for number, state in optimizer.state_dict()["state"].items():
        assert all(torch.equal(state[name], before) for name, before in moments[number].items())

    assert train_step(model, optimizer, SCHEDULE, images, noise, config).applied
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def test_gradients_do_not_pile_up_over_steps():
    images, noise = batch(0, 8)
    once, twice = Toy(), Toy()
    step(once, images, noise)
    for _ in range(2):
        twice.load_state_dict(Toy().state_dict())
        step(twice, images, noise)
    assert all(torch.equal(one, other) for one, other in zip(gradients(once), gradients(twice), strict=True))


def test_training_on_gaussian_data_comes_to_the_best_loss_there_is():
    """At that optimum L_simple is the mean over t of the conditional variance of eps, for the data's own variance."""
    generator = torch.Generator().manual_seed(0)
    data = ((torch.randn(4096, 1, 4, 4, generator=generator) * 0.25 + 1.2) * 127.5).round().clamp(0, 255).byte()
    variance = float((data.double() / 127.5).var())
    best = float(optimal_eps_mse(SCHEDULE.alphas_cumprod, variance).mean())
    model = Toy()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for number in range(200):
        first = 128 * number
        images = data[torch.arange(first, first + 128) % 4096]
        noise = training_noise(0, torch.arange(first, first + 128), 10, (1, 4, 4))
        result = train_step(model, optimizer, SCHEDULE, images, noise, StepConfig(global_batch_size=128))
        losses.append(float(result.loss_sum) / 128)
    assert losses[0] == pytest.approx(1, rel=0.1)  # eps_theta = 0 is off by eps, whose variance is 1
    assert sum(losses[-50:]) / 50 == pytest.approx(best, rel=0.05)


@pytest.mark.parametrize("random_flip", [True, False])
def test_images_are_mirrored_by_their_coin_if_asked(random_flip):
    images, noise = batch(0, 8)
    assert sorted(noise.flip.unique().tolist()) == [0, 1]
    mirrored = torch.stack([image.flip(-1) if coin else image for image, coin in zip(images, noise.flip, strict=True)])
    model, expected = Toy(), Toy()
    result = step(model, images, noise, random_flip=random_flip)
    by_hand = step(expected, mirrored if random_flip else images, noise)
    assert torch.equal(result.grad_norm, by_hand.grad_norm)
    assert all(torch.equal(one, other) for one, other in zip(gradients(model), gradients(expected), strict=True))


def test_the_network_is_told_the_schedules_timesteps():
    images, noise = batch(0, 8)
    schedule, model = respace(linear_schedule(1000), 10), Toy(1000)
    train_step(model, torch.optim.SGD(model.parameters()), schedule, images, noise, StepConfig(global_batch_size=8))
    assert model.told == schedule.timesteps[noise.t].tolist()


@pytest.mark.parametrize(("dtype", "seen"), [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_autocast_reaches_the_products_but_not_the_loss(dtype, seen):
    outputs = []

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(1, 1, 1)

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            outputs.append(self.mix(x_t))
            return outputs[-1]

    model = Layer()
    result = step(model, *batch(0, 4), autocast_dtype=dtype)
    assert outputs[0].dtype == seen
    assert result.loss_sum.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("images_seen", "expected"),
    [(0, 0.0), (250, 0.05), (500, 0.1), (1000, 0.2), (5000, 0.2), (10_000, 0.2), (40_000, 0.1), (160_000, 0.05)],
)
def test_the_learning_rate_rises_linearly_rests_and_falls_by_the_root(images_seen, expected):
    assert learning_rate(images_seen, peak=0.2, warmup_images=1000, decay_images=10_000) == pytest.approx(expected)


def test_hos_learning_rate_is_a_warmup_of_5000_steps_and_a_constant():
    """recipe.md 1.1: lr * min(step / 5000, 1) at batch 128, and no decay."""
    for number in (0, 1, 2500, 4999, 5000, 800_000):
        found = learning_rate(128 * number, peak=2e-4, warmup_images=128 * 5000, decay_images=0)
        assert found == pytest.approx(2e-4 * min(number / 5000, 1))


def test_warmup_and_decay_can_be_off():
    assert learning_rate(0, peak=0.2, warmup_images=0, decay_images=0) == 0.2
    assert learning_rate(10**9, peak=0.2, warmup_images=0, decay_images=0) == 0.2
