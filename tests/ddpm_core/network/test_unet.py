import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_core.network.unet import AttentionBlock, Downsample, ResBlock, UNet, UNetConfig, Upsample, timestep_embedding
from tests.oracles.unet import SMALL, attend, randn, reference_unet, residual, with_random_weights

CHURCH = UNetConfig(image_size=256, channel_mults=(1, 1, 2, 2, 4, 4), dropout=0.0)


class Outline(UNet):
    """The network without initial weights, so that one of 100 million parameters is built in no time and memory."""

    def _initialise(self, seed: int) -> None:
        pass


def outline(config: UNetConfig) -> UNet:
    with torch.device("meta"):
        return Outline(config)


@pytest.mark.parametrize(
    ("config", "count"),
    [  # recipe.md section 5: diffusers' and OpenAI's networks of these shapes agree
        (UNetConfig.cifar10(), 35_746_307),
        (UNetConfig(in_channels=1), 35_741_697),
        (CHURCH, 113_673_219),
    ],
    ids=["cifar10", "one channel", "256 px"],
)
def test_parameter_counts_are_the_original_ones(config, count):
    assert sum(parameter.numel() for parameter in outline(config).parameters()) == count


def attention_places(net: UNet) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, AttentionBlock)]


def test_cifar10_attends_after_each_block_at_16_and_in_the_middle():
    net = outline(UNetConfig.cifar10())
    assert attention_places(net) == [
        "down.1.attentions.0",
        "down.1.attentions.1",
        "middle_attention",
        "up.2.attentions.0",
        "up.2.attentions.1",
        "up.2.attentions.2",
    ]


def test_256_pixels_attend_at_16_only():
    places = attention_places(outline(CHURCH))
    assert [place for place in places if "attentions.0" in place] == ["down.4.attentions.0", "up.1.attentions.0"]


def test_the_middle_attends_even_if_no_level_does():
    config = UNetConfig(image_size=8, base_channels=8, channel_mults=(1,), attention_resolutions=(), norm_groups=4)
    assert attention_places(outline(config)) == ["middle_attention"]


def test_every_group_norm_has_hos_epsilon_and_groups():
    norms = [module for module in outline(UNetConfig.cifar10()).modules() if isinstance(module, nn.GroupNorm)]
    assert {(norm.eps, norm.num_groups) for norm in norms} == {(1e-6, 32)}
    # Two in each of the 22 residual blocks (8 down, 2 middle, 12 up), one in each of the 6 attentions, one at the end.
    assert len(norms) == 2 * 22 + 6 + 1


def test_each_residual_block_has_the_configured_dropout():
    drops = [module.p for module in outline(UNetConfig.cifar10()).modules() if isinstance(module, nn.Dropout)]
    assert drops == [0.1] * 22


def test_dropout_acts_in_training_only():
    config = UNetConfig(image_size=4, base_channels=8, channel_mults=(1,), attention_resolutions=(), norm_groups=4)
    net = with_random_weights(UNet(config))
    x, t = randn(1, 3, 4, 4), torch.tensor([3])
    assert torch.equal(net(x, t), net(x, t))
    net.train()
    torch.manual_seed(0)
    assert not torch.equal(net(x, t), net(x, t))


@pytest.mark.parametrize("dim", [4, 8, 128])
def test_the_timestep_embedding_has_sines_first_then_cosines(dim):
    t = np.array([0, 1, 500, 999])
    frequencies = np.exp(-np.log(10_000) * np.arange(dim // 2) / (dim // 2 - 1))
    angles = t[:, None] * frequencies[None]
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(timestep_embedding(torch.from_numpy(t), dim).numpy(), expected, atol=1e-4)


def test_the_periods_run_from_1_to_10000():
    """The last of the sines has frequency 1/10000; OpenAI's embedding (half instead of half - 1) stops short."""
    embedding = timestep_embedding(torch.tensor([10_000]), 128)
    assert float(embedding[0, 63]) == pytest.approx(math.sin(1), abs=1e-5)
    assert float(embedding[0, 127]) == pytest.approx(math.cos(1), abs=1e-5)


@torch.no_grad()
def test_downsampling_has_tensorflows_same_padding():
    """A lone pixel at (y, x) is seen by output (i, j) through tap (y - 2i, x - 2j): no padding before, one after."""
    layer = Downsample(1)
    layer.conv.weight.copy_(torch.arange(1.0, 10).reshape(1, 1, 3, 3))
    layer.conv.bias.zero_()
    for y, x in [(0, 0), (1, 2), (2, 1), (5, 5)]:
        image = torch.zeros(1, 1, 6, 6)
        image[0, 0, y, x] = 1
        expected = torch.zeros(3, 3)
        for i in range(3):
            for j in range(3):
                if 0 <= y - 2 * i <= 2 and 0 <= x - 2 * j <= 2:
                    expected[i, j] = 1 + 3 * (y - 2 * i) + (x - 2 * j)
        assert torch.equal(layer(image)[0, 0], expected)


@pytest.mark.parametrize("size", [2, 8, 14])
def test_downsampling_halves_and_upsampling_doubles(size):
    assert Downsample(4)(randn(1, 4, size, 2 * size)).shape == (1, 4, size // 2, size)
    assert Upsample(4)(randn(1, 4, size, 2 * size)).shape == (1, 4, 2 * size, 4 * size)


@torch.no_grad()
def test_upsampling_repeats_pixels_before_its_convolution():
    layer = Upsample(1)
    layer.conv.weight.copy_(torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]).reshape(1, 1, 3, 3))
    layer.conv.bias.zero_()
    image = randn(1, 1, 3, 2)
    assert torch.equal(layer(image)[0, 0], torch.from_numpy(np.kron(image[0, 0].numpy(), np.ones((2, 2), np.float32))))


@torch.no_grad()
def test_the_whole_network_equals_a_second_one():
    net = with_random_weights(UNet(SMALL)).double()
    x, t = randn(3, 3, 8, 8).double(), torch.tensor([0, 5, 999])
    expected = reference_unet(net.state_dict(), x, t)
    assert float(expected.std()) > 0.1
    # Loose by the float32 of the sinusoid; a wrong skip, norm or padding is off by the size of the output.
    torch.testing.assert_close(net(x, t), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_attention_equals_a_softmax_by_hand():
    block = with_random_weights(AttentionBlock(8, SMALL))
    x = randn(2, 8, 4, 3)
    weights = {f"it.{name}": value for name, value in block.state_dict().items()}
    torch.testing.assert_close(block(x), attend(weights, "it", x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_attention_does_not_know_positions():
    block = with_random_weights(AttentionBlock(8, SMALL))
    x, order = randn(2, 8, 4, 4), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    mixed = block(x).flatten(2)[:, :, order]
    torch.testing.assert_close(block(x.flatten(2)[:, :, order].reshape(x.shape)).flatten(2), mixed)


@pytest.mark.parametrize(("c_in", "c_out"), [(8, 8), (8, 16), (24, 8)])
@torch.no_grad()
def test_a_residual_block_equals_its_parts(c_in, c_out):
    block = with_random_weights(ResBlock(c_in, c_out, SMALL))
    x, time = randn(2, c_in, 4, 4), randn(2, 32)
    weights = {f"it.{name}": value for name, value in block.state_dict().items()}
    torch.testing.assert_close(block(x, time), residual(weights, "it", x, time), rtol=1e-5, atol=1e-5)
    assert ("shortcut.weight" in block.state_dict()) == (c_in != c_out)


def layers_of(net: UNet) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    return ((name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))


def test_initial_weights_are_glorot_uniform_and_nearly_zero_where_a_branch_ends():
    """Uniform within sqrt(6 / (fan_in + fan_out)), by 1e-5 in conv_2, project_out and conv_out; biases 0."""
    net = UNet(UNetConfig(image_size=8, base_channels=32, channel_mults=(1, 2), attention_resolutions=(8,)))
    for name, layer in layers_of(net):
        weight = layer.weight.detach()
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
        bound = math.sqrt(6 / (fan_in + fan_out))
        if name.endswith(("conv_2", "project_out", "conv_out")):
            bound *= 1e-5
        assert 0.95 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6), name
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1), name
        assert abs(float(weight.mean())) < 4 * bound / math.sqrt(3 * weight.numel()), name
        assert bool((layer.bias == 0).all()), name


@torch.no_grad()
def test_the_initial_output_is_nearly_zero_but_not_zero():
    net = UNet(SMALL).eval()
    out = net(randn(2, 3, 8, 8), torch.tensor([0, 999]))
    assert 0 < float(out.abs().max()) < 1e-3


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = UNet(SMALL, seed=5).state_dict()
    torch.manual_seed(2)
    second, other = UNet(SMALL, seed=5).state_dict(), UNet(SMALL, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])


def test_no_two_layers_start_alike():
    """Layers of one shape, each drawn under its own number."""
    starts = {}
    for name, layer in layers_of(UNet(SMALL)):
        key = tuple((layer.weight / layer.weight.abs().max()).flatten()[:8].tolist())
        assert key not in starts, (name, starts[key])
        starts[key] = name


@torch.no_grad()
def test_an_images_prediction_does_not_depend_on_its_batch():
    net = with_random_weights(UNet(SMALL))
    x, t = randn(3, 3, 8, 8), torch.tensor([4, 500, 999])
    torch.testing.assert_close(net(x, t)[1:2], net(x[1:2], t[1:2]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(x, t), net(x, t.flip(0)), rtol=1e-2)


def test_every_weight_gets_a_gradient():
    net = with_random_weights(UNet(SMALL))
    net(randn(1, 3, 8, 8), torch.tensor([3])).square().sum().backward()
    # A key's bias shifts all scores of a query alike, which softmax does not see.
    silent = [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 1e-4)]
    assert all(name.endswith("key.bias") for name in silent), silent


@pytest.mark.parametrize("channels", [1, 3])
def test_the_output_has_the_shape_of_the_input(channels):
    config = UNetConfig(
        image_size=28, in_channels=channels, base_channels=8, channel_mults=(1, 2, 2), attention_resolutions=(7,),
        norm_groups=8,
    )  # fmt: skip
    x = randn(2, channels, 28, 28)
    assert UNet(config)(x, torch.tensor([0, 1])).shape == x.shape
