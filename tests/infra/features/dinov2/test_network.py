"""The network against a second derivation layer by layer, and against figures of two other programs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import infra.features.dinov2.network
from infra.features.dinov2.network import DinoV2
from infra.features.dinov2.resize import network_input
from infra.features.dinov2.size import Size
from tests.infra.features.dinov2.files import SMALL, Weights, random_weights
from tests.oracles.dinov2 import outputs, positions

RECORDED = json.loads((Path(__file__).parents[3] / "parity" / "dinov2.json").read_text())


def wide(weights: Weights) -> Weights:
    return {name: tensor.double() for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


def test_every_layer_equals_that_of_a_second_derivation(weights: Weights) -> None:
    exact = wide(weights)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = dict(DinoV2(exact, SMALL).outputs(x))
    assert list(ours) == ["embeddings", "blocks.0", "blocks.1", "norm"]
    for number, image in enumerate(x):
        for name, expected in outputs(exact, image, SMALL.depth, SMALL.heads):
            assert expected.std() > 0.1, f"{name} tells nothing"
            torch.testing.assert_close(ours[name][number], expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(DinoV2(exact, SMALL).class_token(x), ours["norm"][:, 0])


def test_position_embeddings_are_resized_by_the_scale_with_its_offset(weights: Weights) -> None:
    exact = wide(weights)
    found = DinoV2(exact, SMALL).positions[0]
    torch.testing.assert_close(found, positions(exact, SMALL.grid), rtol=1e-9, atol=1e-9)
    assert (found - positions(exact, SMALL.grid, offset=0)).abs().max() > 0.01
    trained = exact | {"pos_embed": exact["pos_embed"][:, : 1 + SMALL.grid**2]}
    at_home = Size(depth=2, width=32, heads=2, trained_side=224)
    assert torch.equal(DinoV2(trained, at_home).positions, trained["pos_embed"])


def formula_weights() -> Weights:
    """The weights of tests/parity/programs/dinov2_features.py, written again; float64."""
    shapes = {name: tuple(tensor.shape) for name, tensor in random_weights().items()} | {"mask_token": (1, 32)}
    weights = {}
    for number, name in enumerate(sorted(shapes)):
        j = torch.arange(int(np.prod(shapes[name])), dtype=torch.float64)
        drawn = torch.sin(0.7368 * j**2 + number).reshape(shapes[name])
        is_scale = name.endswith("gamma") or ("norm" in name and name.endswith("weight"))
        if is_scale:
            weights[name] = 0.8 + 0.4 * drawn
        else:
            weights[name] = drawn * 2 / drawn[0].numel() ** 0.5 if name.endswith(".weight") else 0.5 * drawn
    return weights


def formula_images() -> Tensor:
    j = np.arange(3 * 40 * 32 * 3, dtype=np.int64)
    images = ((j * j * 31 + j * 7) % 1009 % 256).astype(np.uint8).reshape(3, 40, 32, 3)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


# The original code resizes position embeddings in float32, even in a network of float64; transformers was given ours.
@pytest.mark.parametrize(("program", "tolerance"), [("dinov2", 1e-5), ("transformers", 1e-6)])
def test_every_layer_equals_that_of_another_program(program: str, tolerance: float) -> None:
    x = network_input(formula_images(), SMALL.side, torch.device("cpu")).double()
    found = dict(DinoV2(formula_weights(), SMALL).outputs(x))
    recorded = RECORDED[program]["class_tokens"]
    assert list(found) == list(recorded)
    for name, tokens in found.items():
        expected = torch.tensor(recorded[name], dtype=torch.float64)
        assert expected.std() > 0.1, f"{name} tells nothing"
        torch.testing.assert_close(tokens[:, 0], expected, rtol=tolerance, atol=tolerance)
    features = DinoV2({name: tensor.float() for name, tensor in formula_weights().items()}, SMALL)(formula_images())
    torch.testing.assert_close(features.double(), expected, rtol=1e-4, atol=1e-4)


class _OwnPositions(DinoV2):
    """Resizes the position embeddings by the two sizes, as transformers does by itself."""

    @property
    def positions(self) -> Tensor:  # type: ignore[override]
        trained = self._weights["pos_embed"]
        grid = trained[:, 1:].unflatten(1, (37, 37)).permute(0, 3, 1, 2).float()
        resized = F.interpolate(grid, size=(16, 16), mode="bicubic", align_corners=False).double()
        return torch.cat([trained[:, :1], resized.flatten(2).transpose(1, 2)], 1)


def test_transformers_differs_by_the_place_of_its_position_embeddings_alone() -> None:
    x = network_input(formula_images(), SMALL.side, torch.device("cpu")).double()
    expected = torch.tensor(RECORDED["transformers"]["own_positions"], dtype=torch.float64)
    torch.testing.assert_close(_OwnPositions(formula_weights(), SMALL).class_token(x), expected, rtol=1e-5, atol=1e-5)
    assert (DinoV2(formula_weights(), SMALL).class_token(x) - expected).abs().max() > 1e-3


def test_features_are_those_of_the_images_whatever_their_batch(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randint(0, 256, (3, 1, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    network = DinoV2(weights, SMALL)
    whole = network(images)
    assert (whole.shape, whole.dtype) == ((3, SMALL.width), torch.float32)
    assert torch.equal(network(images), whole)
    monkeypatch.setattr(infra.features.dinov2.network, "BATCH", 2)
    torch.testing.assert_close(network(images), whole, rtol=1e-4, atol=1e-5)


def test_float32_is_multiplied_as_float32(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen: list[bool] = []

    def class_token(self: DinoV2, x: Tensor) -> Tensor:
        seen.extend([torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.is_grad_enabled()])
        return x.mean((2, 3))

    monkeypatch.setattr(DinoV2, "class_token", class_token)
    DinoV2(weights, SMALL)(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    assert seen == [False, False, False]
    assert torch.backends.cudnn.allow_tf32
