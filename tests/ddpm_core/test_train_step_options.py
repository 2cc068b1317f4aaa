"""Micro-batches, the scale of float16 and a skip on the device change no gradient."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ddpm_core.loss_scale import INITIAL_SCALE, LossScale, initial_scale
from ddpm_core.schedule import linear_schedule
from ddpm_core.train_step import StepConfig, StepResult, _step_if, _step_on_device, train_step
from ddpm_core.training_order import TrainingNoise
from tests.ddpm_core.test_train_step import Toy, batch, gradients, part

SCHEDULE = linear_schedule(10, 0.02, 0.4)
CPU = torch.device("cpu")


def stepped(model: nn.Module, images: Tensor, noise: TrainingNoise, *, clip: float = 1.0, **more: object) -> StepResult:
    options = {name: more.pop(name) for name in ("loss_scale", "before_pass") if name in more}
    config = StepConfig(**{"global_batch_size": len(images), "grad_clip": clip} | more)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return train_step(model, optimizer, SCHEDULE, images, noise, config, **options)


def some_model() -> Toy:
    model = Toy()
    nn.init.constant_(model.scale, 0.3)
    return model


class TestMicroBatches:
    @pytest.mark.parametrize("microbatch", [1, 2, 3, 5, 6])
    def test_their_gradient_is_the_whole_batchs(self, microbatch):
        """In float64, where the order of the sums is all that differs; 7 images leave a smaller last one."""
        images, noise = batch(0, 7)
        whole, parts = some_model().double(), some_model().double()
        expected = stepped(whole, images, noise, clip=math.inf)
        found = stepped(parts, images, noise, clip=math.inf, microbatch=microbatch)
        for one, other in zip(gradients(parts), gradients(whole), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(found.losses, expected.losses, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.loss_sum, expected.loss_sum, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.grad_norm, expected.grad_norm, rtol=1e-12, atol=0)

    @pytest.mark.parametrize("microbatch", [7, 8, 100])
    def test_one_that_holds_all_images_changes_no_bit(self, microbatch):
        images, noise = batch(0, 7)
        whole, one = some_model(), some_model()
        results = [stepped(whole, images, noise), stepped(one, images, noise, microbatch=microbatch)]
        assert torch.equal(*(result.grad_norm for result in results))
        assert all(map(torch.equal, gradients(one), gradients(whole)))

    def test_workers_with_shares_of_their_own_sizes_still_average_to_the_batch(self):
        images, noise = batch(0, 8)
        single = some_model().double()
        stepped(single, images, noise, clip=math.inf)
        found = []
        for rows in (slice(0, 5), slice(5, 8)):
            worker = some_model().double()
            more = {"global_batch_size": 8, "world_size": 2, "microbatch": 2}
            stepped(worker, *part(images, noise, rows), clip=math.inf, **more)
            found.append(gradients(worker))
        for mine, expected in zip(zip(*found, strict=True), gradients(single), strict=True):
            torch.testing.assert_close(sum(mine) / 2, expected, rtol=1e-12, atol=1e-15)

    def test_each_pass_is_announced_before_its_images(self):
        events = []

        class Noted(Toy):
            def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
                events.append(len(x_t))
                return super().forward(x_t, t)

        stepped(Noted(), *batch(0, 7), microbatch=3, before_pass=lambda number: events.append(f"pass {number}"))
        assert events == ["pass 0", 3, "pass 1", 3, "pass 2", 1]

    def test_a_group_exchanges_gradients_once(self, group):
        images, noise = batch(0, 7)
        alone, model = some_model(), some_model()
        stepped(alone, images, noise, microbatch=3)
        wrapped = nn.parallel.DistributedDataParallel(model)
        exchanged = []

        def hook(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
            exchanged.append(bucket.buffer().clone())
            done = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        wrapped.register_comm_hook(None, hook)
        stepped(wrapped, images, noise, microbatch=3)
        assert len(exchanged) == 1
        for one, other in zip(gradients(model), gradients(alone), strict=True):
            torch.testing.assert_close(one, other)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class TestLossScale:
    @pytest.mark.parametrize("scale", [1.0, 2.0**-3, INITIAL_SCALE])
    def test_it_changes_no_bit_where_nothing_is_lost(self, scale):
        """A power of two rounds nothing, before the norm is measured and clipped."""
        images, noise = batch(0, 7)
        plain, scaled = some_model(), some_model()
        expected = stepped(plain, images, noise, clip=0.1)
        start = LossScale(torch.tensor(scale), torch.tensor(0, dtype=torch.int32))
        found = stepped(scaled, images, noise, clip=0.1, loss_scale=start)
        assert torch.equal(found.grad_norm, expected.grad_norm)
        assert torch.equal(found.loss_sum, expected.loss_sum)
        assert all(map(torch.equal, scaled.parameters(), plain.parameters()))
        assert (float(found.loss_scale.scale), int(found.loss_scale.steps)) == (scale, 1)
        assert expected.loss_scale is None

    def test_it_keeps_gradients_that_float16_has_no_number_for(self):
        class Mixing(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.mix = nn.Conv2d(1, 1, 1)

            def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
                return self.mix(x_t)

        torch.manual_seed(0)
        images, noise = batch(0, 4)
        model = Mixing()
        # A share of so large a batch that an output's gradient is below 2^-24.
        more = {"clip": math.inf, "global_batch_size": 1 << 24}
        norms = {}
        for name, dtype, scale in (
            ("float32", torch.float32, None),
            ("float16", torch.float16, None),
            ("scaled", torch.float16, initial_scale(CPU)),
        ):
            found = stepped(copy.deepcopy(model), images, noise, autocast_dtype=dtype, loss_scale=scale, **more)
            norms[name] = float(found.grad_norm)
        assert norms["float16"] == 0
        assert norms["scaled"] == pytest.approx(norms["float32"], rel=1e-2)

    def test_a_gradient_that_overflows_is_skipped_and_halves_it(self):
        images, noise = batch(0, 4)
        model = some_model()
        before = copy.deepcopy(model.state_dict())
        huge = LossScale(torch.tensor(2.0**127), torch.tensor(5, dtype=torch.int32))
        found = stepped(model, images, noise.__class__(noise.t, 1e3 * noise.eps, noise.flip), loss_scale=huge)
        assert not found.applied
        assert (float(found.loss_scale.scale), int(found.loss_scale.steps)) == (2.0**126, 0)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class TestSkipOnTheDevice:
    def weights(self) -> tuple[nn.Parameter, torch.optim.Adam]:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(6))
        optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
        weight.grad = torch.ones(6)
        optimizer.step()
        return weight, optimizer

    def bits(self, weight: nn.Parameter, optimizer: torch.optim.Adam) -> list[Tensor]:
        return [weight.detach().clone(), *(value.clone() for value in optimizer.state[weight].values())]

    def test_a_fused_optimiser_skips_by_itself(self):
        weight, optimizer = self.weights()
        before = self.bits(weight, optimizer)
        weight.grad = torch.full((6,), math.nan)
        _step_on_device(torch.tensor(False), optimizer)
        assert all(map(torch.equal, self.bits(weight, optimizer), before)), "weights, moments and their count"

    def test_an_applied_step_has_the_bits_of_any(self):
        (weight, optimizer), (other, usual) = self.weights(), self.weights()
        weight.grad, other.grad = (torch.linspace(-1, 1, 6) for _ in range(2))
        _step_on_device(torch.tensor(True), optimizer)
        usual.step()
        assert all(map(torch.equal, self.bits(weight, optimizer), self.bits(other, usual)))

    def test_nothing_of_a_skip_is_left_over(self):
        weight, optimizer = self.weights()
        before = self.bits(weight, optimizer)
        _step_on_device(torch.tensor(False), optimizer)
        optimizer.step()
        assert not torch.equal(weight, before[0])

    def test_elsewhere_than_on_a_cpu_the_host_does_not_ask(self):
        """A tensor on meta has no value to read; a skip that the host decides would raise."""
        told = []

        class Fused(torch.optim.SGD):
            def step(self, closure: object = None) -> None:
                told.append(self.found_inf)

        weight = nn.Parameter(torch.zeros(2))
        finite = torch.ones((), dtype=torch.bool, device="meta")
        _step_if(finite, Fused([weight], lr=1.0, fused=True))
        assert [(one.device.type, one.dtype) for one in told] == [("meta", torch.float32)]
        with pytest.raises(RuntimeError, match="meta"):
            _step_if(finite, Fused([weight], lr=1.0))
