"""The network against a second implementation, layer by layer, and its features against any split of the images."""

import pytest
import torch
from torch import Tensor

import infra.features.inception.network
from infra.features.extractor import FEATURES
from infra.features.inception.kind import INCEPTION
from infra.features.inception.layers import FEATURE_DIM, LAYERS, convolutions
from infra.features.inception.network import SPATIAL, Inception
from infra.features.inception.resize import network_input
from tests.infra.features.inception.files import Weights, random_weights
from tests.oracles.inception import conv as convolution
from tests.oracles.inception import outputs


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


def by_scope(weights: Weights, scope: str) -> dict[str, Tensor]:
    """The weights of one convolution by the oracle's names."""
    (name,) = (one.name for one in convolutions() if one.scope == f"layers.{scope}")
    parts = {"kernel": "conv.weight", "mean": "bn.running_mean", "variance": "bn.running_var"}
    parts |= {"gamma": "bn.weight", "beta": "bn.bias"}
    return {ours: weights[f"{name}.{theirs}"] for ours, theirs in parts.items()}


def test_every_layer_equals_that_of_a_second_implementation(weights: Weights) -> None:
    wide = {name: tensor.double() for name, tensor in weights.items()}
    generator = torch.Generator().manual_seed(1)
    for name in wide:  # a gain per channel tells where the norm's weight goes
        if name.endswith("bn.weight"):
            wide[name] = 0.5 + torch.rand(wide[name].shape, generator=generator, dtype=torch.float64)
    # At 123 pixels the three sizes of the blocks are 13, 6 and 2, so that borders and odd sizes count.
    x = torch.rand(2, 3, 123, 123, generator=generator, dtype=torch.float64) * 2 - 1
    network = Inception(wide)
    pairs = zip(network.outputs(x), outputs(lambda scope: by_scope(wide, scope), x), strict=True)
    for number, ((name, ours), theirs) in enumerate(pairs):
        assert name == LAYERS[number].name
        assert theirs.std() > 1e-3, f"{name} tells nothing"
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    assert number == 17
    torch.testing.assert_close(network.layers(x)[FEATURES], theirs.mean((2, 3)), rtol=1e-9, atol=1e-9)


def test_its_size_is_that_of_the_published_network() -> None:
    named = list(convolutions())
    assert len(named) == len({one.name for one in named}) == len({one.scope for one in named}) == 94
    # Szegedy et al. 2015, table 1: the output of each kind of block.
    maps = {
        "pool_2": (192, 35),
        "Mixed_5d": (288, 35),
        "Mixed_6e": (768, 17),
        "Mixed_7a": (1280, 8),
        "Mixed_7c": (2048, 8),
    }
    empty = {
        name: torch.zeros(tensor.shape, device="meta") for name, tensor in random_weights().items()
    }  # fmt: skip
    found = dict(Inception(empty).outputs(torch.zeros(1, 3, 299, 299, device="meta")))
    assert {name: tuple(found[name].shape[1:]) for name in maps} == {
        n: (c, side, side) for n, (c, side) in maps.items()
    }


def test_features_are_those_of_the_images_whatever_their_batch(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randint(0, 256, (3, 3, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    extract = INCEPTION.open(weights, {})
    whole = extract(images)
    assert {layer: (tuple(rows.shape), rows.dtype) for layer, rows in whole.items()} == {
        FEATURES: ((3, FEATURE_DIM), torch.float32),
        SPATIAL: ((3, 17 * 17 * 7), torch.float32),
    }
    again = extract(images)
    assert all(torch.equal(again[layer], whole[layer]) for layer in whole)
    monkeypatch.setattr(infra.features.inception.network, "BATCH", 2)
    by_two = extract(images)
    exact = Inception({name: tensor.double() for name, tensor in weights.items()}).layers(
        network_input(images[:1]).double()
    )
    for layer, rows in whole.items():
        torch.testing.assert_close(by_two[layer], rows, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rows[:1].double(), exact[layer], rtol=1e-3, atol=1e-4)


def test_the_layer_of_sfid_is_the_first_channels_of_one_convolution(weights: Weights) -> None:
    """Those of TensorFlow's mixed_6/conv, which the oracle computes by that name before it is concatenated."""
    wide = {name: tensor.double() for name, tensor in weights.items()}
    x = torch.rand(2, 3, 123, 123, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    *_, before = (output for (name, output), _ in zip(Inception(wide).outputs(x), range(13), strict=False))
    alone = convolution(lambda scope: by_scope(wide, scope), "mixed_6.conv", before)
    expected = alone[:, :7]
    assert expected.std() > 1e-3
    torch.testing.assert_close(Inception(wide).layers(x)[SPATIAL], expected.flatten(1), rtol=1e-9, atol=1e-9)


def test_float32_is_multiplied_as_float32(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen: list[bool] = []

    def layers(self: Inception, x: Tensor) -> dict[str, Tensor]:
        seen.extend([torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.is_grad_enabled()])
        return {FEATURES: x.mean((2, 3)), SPATIAL: x.mean((2, 3))}

    monkeypatch.setattr(Inception, "layers", layers)
    Inception(weights)(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    assert seen == [False, False, False]
    assert torch.backends.cudnn.allow_tf32
