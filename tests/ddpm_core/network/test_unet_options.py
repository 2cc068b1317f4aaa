"""Heads, scale-shift normalisation, classes and a learned variance, against the second network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ddpm_core.network.unet import UNet, UNetConfig
from tests.oracles.unet import SMALL, randn, reference_unet, with_random_weights


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 2},
        {"num_heads": 8},
        {"scale_shift_norm": True},
        {"num_classes": 5},
        {"learned_variance": True},
        {"num_heads": 4, "scale_shift_norm": True, "num_classes": 3, "learned_variance": True},
    ],
    ids=lambda options: "-".join(options),
)
@torch.no_grad()
def test_each_option_equals_the_second_network(options: dict[str, int]) -> None:
    config = replace(SMALL, **options)
    net = with_random_weights(UNet(config)).double()
    x, t = randn(3, 3, 8, 8).double(), torch.tensor([0, 5, 999])
    labels = torch.tensor([2, 0, 1]) if config.num_classes else None
    expected = reference_unet(net.state_dict(), x, t, labels, config.num_heads)
    assert expected.shape[1] == config.out_channels
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(net(x, t, labels), expected, rtol=1e-3, atol=1e-3)


def plain_output(**options: int) -> Tensor:
    net = UNet(replace(SMALL, **options)).eval()
    weights = with_random_weights(UNet(SMALL)).state_dict()
    net.load_state_dict(weights)
    with torch.no_grad():
        output: Tensor = net(randn(2, 3, 8, 8), torch.tensor([1, 9]))
    return output


def test_heads_change_the_output_and_not_the_weights() -> None:
    assert not torch.allclose(plain_output(num_heads=1), plain_output(num_heads=2), rtol=1e-3)


def test_options_leave_the_plain_network_alone() -> None:
    plain, more = UNet(SMALL).state_dict(), UNet(replace(SMALL, num_classes=4, learned_variance=True)).state_dict()
    same = [name for name in plain if not name.startswith("conv_out")]
    assert all(torch.equal(plain[name], more[name]) for name in same)
    assert set(more) - set(plain) == {"class_embedding.weight"}


def test_labels_and_classes_go_together() -> None:
    x, t, labels = randn(1, 3, 8, 8), torch.tensor([0]), torch.tensor([0])
    with pytest.raises(ValueError, match="cannot take labels"):
        UNet(SMALL)(x, t, labels)
    with pytest.raises(ValueError, match="cannot take labels"):
        UNet(replace(SMALL, num_classes=2))(x, t)


def test_the_class_changes_the_prediction() -> None:
    net = with_random_weights(UNet(replace(SMALL, num_classes=2)))
    x, t = randn(1, 3, 8, 8), torch.tensor([3])
    assert not torch.allclose(net(x, t, torch.tensor([0])), net(x, t, torch.tensor([1])), rtol=1e-3)


def test_imagenet_like_shape_has_the_published_count() -> None:
    """Improved diffusion's CIFAR-10 network: 3 blocks, attention at 16 and 8, 6 outputs, scale-shift; 4 heads."""
    with torch.device("meta"):
        net = UNet(
            UNetConfig(
                num_res_blocks=3,
                attention_resolutions=(16, 8),
                scale_shift_norm=True,
                learned_variance=True,
                num_heads=4,
            ),
            seed=None,
        )
    assert sum(parameter.numel() for parameter in net.parameters()) == 52_546_438


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide base_channels; got 3 and 8"),
        ({"num_heads": 0}, "num_heads must be at least 1; got 0"),
        ({"num_classes": -1}, "num_classes must be 0 or above; got -1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **options)
