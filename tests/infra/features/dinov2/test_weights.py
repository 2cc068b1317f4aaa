"""Both files give the same tensors; every other file is one line that says what is wrong with it."""

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from infra.errors import InputError
from infra.features.dinov2.size import LARGE
from infra.features.dinov2.weights import FACEBOOK, PUBLISHED, TRANSFORMERS, read_weights, weight_shapes
from tests.infra.features.dinov2.files import (
    SMALL,
    Weights,
    random_weights,
    state_dict_file,
    transformers_file,
    transformers_weights,
    with_the_mask,
)

RECORDED = json.loads((Path(__file__).parents[3] / "parity" / "dinov2.json").read_text())


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


def equal(found: Weights, expected: Weights) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_file_of_the_original_code(weights: Weights) -> None:
    assert equal(read_weights(state_dict_file(with_the_mask(weights)), "x", SMALL), weights)


def test_the_file_of_transformers(weights: Weights) -> None:
    assert equal(read_weights(transformers_file(weights), "x", SMALL), weights)


def digest_of(shapes: dict[str, tuple[int, ...]]) -> str:
    """As in tests/parity/programs/dinov2_features.py."""
    return hashlib.sha256(json.dumps([[name, list(shapes[name])] for name in sorted(shapes)]).encode()).hexdigest()


def test_names_and_shapes_are_those_of_other_programs(weights: Weights) -> None:
    """The original code loads its published file with these names and no other."""
    large = weight_shapes(LARGE)
    assert len(large) == 24 * 14 + 6
    assert large["pos_embed"] == (1, 1370, 1024)
    assert digest_of(large | {"mask_token": (1, 1024)}) == RECORDED["dinov2"]["large"]["names"]
    assert digest_of(weight_shapes(SMALL) | {"mask_token": (1, 32)}) == RECORDED["dinov2"]["names"]
    theirs = {name: tuple(tensor.shape) for name, tensor in transformers_weights(weights).items()}
    assert digest_of(theirs) == RECORDED["transformers"]["names"]


def test_the_published_sizes_are_those_of_these_tensors() -> None:
    """1,217,522,888 and 1,217,586,395 bytes, as public code has them."""
    large = {name: torch.zeros(1).expand(shape) for name, shape in weight_shapes(LARGE).items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in sorted(transformers_weights(large, contiguous=False).items()):
        start, end = end, end + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    assert len(header) == 1 + 439
    assert 8 + text + -text % 8 + end == 1_217_522_888  # to the byte: so long are the names
    assert 0 < 1_217_586_395 - end < 120_000  # 343 members of a zip, aligned to 64 bytes


REFUSED = {
    "nothing": (state_dict_file({}), "lacks cls_token and 33 more"),
    "registers": (
        state_dict_file({"register_tokens": torch.zeros(1, 4, 32)}),
        "holds 'register_tokens', which DINOv2's ViT-L/14 does not have",
    ),
    "another size": (
        state_dict_file({"cls_token": torch.zeros(1, 1, 384)}),
        r"holds cls_token of shape \[1, 1, 384\], not \[1, 1, 32\]",
    ),
    "half precision": (
        state_dict_file({"norm.bias": torch.zeros(32, dtype=torch.float16)}),
        "holds norm.bias in torch.float16, not torch.float32",
    ),
    "a value that is not finite": (
        safetensors.torch.save({"layernorm.bias": torch.tensor([0.0] * 31 + [torch.inf])}),
        "holds layernorm.bias with values that are not finite",
    ),
    "a state dict within": (state_dict_file({"teacher": {}}), "teacher is no tensor"),
    "transformers' names, but not all": (
        safetensors.torch.save({"layernorm.bias": torch.zeros(32)}),
        "lacks embeddings.cls_token and 40 more",
    ),
    "transformers' names of today's modules": (
        safetensors.torch.save({"encoder.layer.0.attention.q_proj.bias": torch.zeros(32)}),
        "holds 'encoder.layer.0.attention.q_proj.bias', which",
    ),
    "a damaged safetensors file": (b"\xff" * 8 + b"{}", "is a damaged safetensors file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_another_file_is_one_line(kind: str) -> None:
    data, cause = REFUSED[kind]
    with pytest.raises(InputError, match=cause) as caught:
        read_weights(data, "the file", SMALL)
    assert (caught.value.item, caught.value.exit_code) == ("the file", 3)
    assert FACEBOOK in caught.value.remedy
    assert "huggingface.co/facebook/dinov2-large" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_the_published_files_have_a_digest_each() -> None:
    assert sorted(PUBLISHED.values()) == [FACEBOOK, TRANSFORMERS]
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in PUBLISHED)
