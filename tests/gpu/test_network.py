"""The U-Net and a training step on a GPU, against float64 on the CPU."""

import copy
import warnings

import pytest
import torch

pytest.importorskip("safetensors")

from ddpm_core.choices import Sampler
from ddpm_core.ema import update_ema_if
from ddpm_core.loss_scale import initial_scale
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.chain import Chain
from ddpm_core.samplers.table import SAMPLERS
from ddpm_core.schedule import respace
from ddpm_core.selftest.run import run_selftest
from flows.snapshot import channels_last
from infra.compute.device import repeatable_gradients
from infra.compute.hardware import resolve_dtype
from infra.compute.probe import probe
from tests.gpu.networks import SCHEDULE, SHAPE, network, step_on

pytestmark = pytest.mark.gpu

BATCH = 64


def distance(computed, expected):
    return float((computed.cpu().double() - expected.cpu().double()).norm() / expected.double().norm())


def prediction_error(device, timesteps):
    """Return the relative error of float32 on the device against float64 on the CPU."""
    t = torch.tensor(timesteps)
    x_t = normal(0, Stream.X_T, torch.arange(len(t)), SHAPE)
    net = network()
    with torch.no_grad():
        expected = copy.deepcopy(net).double()(x_t.double(), t)
        computed = channels_last(net.to(device))(x_t.to(device), t.to(device))
    return distance(computed, expected)


def test_float32_is_float32(device):
    """Small t alone: the sinusoids of a large t are float32 in both, rounded by each device in its own way."""
    error = prediction_error(device, [0, 1, 2, 3, 4, 5, 6, 7])
    print(f"prediction in float32: relative error {error:.2e}")
    assert error < 1e-5


def test_float32_is_float32_at_every_timestep(device):
    assert prediction_error(device, [10, 100, 500, 999]) < 1e-4


def test_tf32_would_be_seen(gpu):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    error = prediction_error(gpu, [0, 1, 2, 3, 4, 5, 6, 7])
    print(f"prediction in TF32: relative error {error:.2e}")
    assert error > 1e-5


def test_the_self_test_passes(device):
    assert [check for check in run_selftest(device) if not check.passed] == []


def test_auto_is_bfloat16_on_a_gpu_that_has_it(gpu):
    native = torch.cuda.get_device_capability()[0] >= 8
    assert resolve_dtype("auto", "cuda", [probe(compiler=False)]) == ("bfloat16" if native else "float16")


def test_a_training_step_is_the_cpus(device):
    """By plain gradient descent: Adam's first step turns the rounding of a gradient of 0 into a whole step."""

    def trained(where):
        net = channels_last(network().to(where))
        start = [weight.detach().clone() for weight in net.parameters()]
        result = step_on(where, 0, BATCH)(net, torch.optim.SGD(net.parameters(), lr=0.1), SCHEDULE.to(where))
        moved = torch.cat([(a - b).flatten() for a, b in zip(net.parameters(), start, strict=True)])
        return result, moved.detach()

    (here, here_moved), (there, there_moved) = trained(torch.device("cpu")), trained(device)
    assert here.applied
    assert there.applied
    assert float(there.loss_sum) == pytest.approx(float(here.loss_sum), rel=1e-5)
    assert float(there.grad_norm) == pytest.approx(float(here.grad_norm), rel=1e-4)
    assert distance(there_moved, here_moved) < 1e-3


def test_a_step_in_bfloat16_has_almost_the_loss_of_float32(device):
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        net = channels_last(network().to(device))
        result = step_on(device, 0, BATCH, dtype)(net, torch.optim.SGD(net.parameters(), lr=0.1), SCHEDULE.to(device))
        assert result.applied
        losses.append(float(result.loss_sum))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[1] != losses[0]


def test_a_scaled_step_in_float16_has_almost_the_gradient_of_float32(device):
    norms = []
    for dtype, scale in ((torch.float32, None), (torch.float16, initial_scale(device))):
        net = channels_last(network().to(device))
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        result = step_on(device, 0, BATCH, dtype)(net, optimizer, SCHEDULE.to(device), scale)
        assert result.applied
        norms.append(float(result.grad_norm))
    assert norms[1] == pytest.approx(norms[0], rel=2e-2)
    assert norms[1] != norms[0]


def test_a_step_whose_gradient_overflows_changes_no_bit(device):
    """On a GPU the optimiser's kernel and the average learn it on the device."""
    net, schedule = channels_last(network().to(device)), SCHEDULE.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    step = step_on(device, 0, BATCH, torch.float16)
    step(net, optimizer, schedule, initial_scale(device))

    def bits():
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return [value.detach().clone() for value in (*net.parameters(), *moments)]

    before = bits()
    average = [torch.zeros_like(weight) for weight in net.parameters()]
    huge = initial_scale(device)._replace(scale=torch.full((), 2.0**127, device=device))
    result = step(net, optimizer, schedule, huge)
    update_ema_if(result.applied, average, list(net.parameters()), 0.5)
    assert not result.applied
    assert float(result.loss_scale.scale) == 2.0**126
    assert all(map(torch.equal, bits(), before))
    assert not any(bool(value.any()) for value in average)
    step(net, optimizer, schedule, result.loss_scale._replace(scale=initial_scale(device).scale))
    assert not torch.equal(bits()[0], before[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_equal_steps_give_equal_bits(device, dtype):
    """Bit-equality of trained weights is promised at equal device class."""

    def trained():
        net = channels_last(network().to(device)).train()
        optimizer, schedule = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True), SCHEDULE.to(device)
        for number in range(10):
            with repeatable_gradients(device.type):
                step_on(device, number * BATCH, BATCH, dtype)(net, optimizer, schedule)
        return torch.cat([weight.detach().flatten() for weight in net.parameters()])

    assert torch.equal(trained(), trained())


def test_a_training_step_does_not_wait_for_the_gpu(gpu):
    """Not to see whether its gradient is finite either: a wait leaves the GPU idle while the host goes on."""
    net, schedule = channels_last(network().to(gpu)).train(), SCHEDULE.to(gpu)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    step = step_on(gpu, 0, BATCH)
    step(net, optimizer, schedule)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step(net, optimizer, schedule)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(one.message) for one in caught if "called a synchronizing" in str(one.message)]
    assert waits == []


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("sampler", [Sampler.DDPM, Sampler.DDIM])
def test_samples_do_not_depend_on_the_batch_size_beyond_rounding(device, sampler, count):
    """Within 1e-3 on [-1, 1], an eighth of a grey level: kernels for another batch add up in another order."""
    net, schedule = channels_last(network().to(device)), respace(SCHEDULE, 10).to(device)

    @torch.inference_mode()
    def sample(ids):
        chain = Chain(model=net, schedule=schedule, noise=lambda t: normal(5, Stream.Z_T, ids, SHAPE, step=t), eta=0.0)
        return SAMPLERS[sampler](chain, normal(5, Stream.X_T, ids, SHAPE)).cpu()

    ids = torch.arange(16, device=device)
    together = sample(ids)
    apart = torch.cat([sample(part) for part in ids.split(count)])
    assert together.std() > 0.1, "images, not a constant"
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-3)
