"""Both files give the same tensors; every other file is one line that says what is wrong with it."""

import hashlib
from typing import Any

import pytest
import torch

from infra.errors import InputError
from infra.features.inception.weights import NVIDIA, PUBLISHED, PYTORCH_FID, read_weights, weight_shapes
from tests.infra.features.inception.files import (
    Weights,
    random_weights,
    state_dict_file,
    torchscript_file,
    with_the_rest,
)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


def equal(found: Weights, expected: Weights) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("zipped", [False, True])
def test_the_file_of_pytorch_fid(weights: Weights, zipped: bool) -> None:
    entries = with_the_rest(weights)
    data = state_dict_file(entries, zipped=zipped)
    if not zipped:
        # The published file has 566 entries and 95,628,359 bytes, and was written in this form.
        assert len(entries) == 566
        assert len(data) == pytest.approx(95_628_359, rel=1e-4)
    assert equal(read_weights(data, "x"), weights)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch still writes the archives
def test_the_file_of_nvidia(weights: Weights) -> None:
    data = torchscript_file(weights)
    # The published archive has 95,607,719 bytes. Weights of all batch norms would add 68,864.
    assert len(data) == pytest.approx(95_607_719, abs=60_000)
    assert equal(read_weights(data, "x"), weights)


def test_a_name_of_each_block_in_both_files() -> None:
    shapes = weight_shapes()
    assert len(shapes) == 94 * 5 + 1
    assert shapes["fc.weight"] == (1008, 2048)
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_5b.branch5x5_2.conv.weight"] == (64, 48, 5, 5)
    assert shapes["Mixed_6a.branch3x3dbl_3.conv.weight"] == (96, 96, 3, 3)
    assert shapes["Mixed_6c.branch7x7dbl_2.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7a.branch7x7x3_2.conv.weight"] == (192, 192, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["Mixed_7c.branch_pool.bn.running_var"] == (192,)


def changed(**changes: Any) -> dict[str, Any]:
    """A few entries, of which the first bad one is reported before the many missing ones."""
    return {name.replace("__", "."): value for name, value in changes.items()}


REFUSED = {
    "nothing": ({}, "lacks Conv2d_1a_3x3.conv.weight and 470 more"),
    "the file of torchvision": (
        changed(AuxLogits__conv0__conv__weight=torch.zeros(1)),
        "holds 'AuxLogits.conv0.conv.weight', which FID's network does not have",
    ),
    "another number of classes": (
        changed(fc__bias=torch.zeros(1000)),
        r"holds fc.bias of shape \[1000\], not \[1008\]",
    ),
    "half precision": (
        changed(Conv2d_1a_3x3__bn__bias=torch.zeros(32, dtype=torch.float16)),
        "holds Conv2d_1a_3x3.bn.bias in torch.float16, not torch.float32",
    ),
    "a value that is not finite": (
        changed(Conv2d_1a_3x3__bn__bias=torch.tensor([0.0] * 31 + [torch.nan])),
        "holds Conv2d_1a_3x3.bn.bias with values that are not finite",
    ),
    "a state dict within": (changed(state_dict={}), "state_dict is no tensor"),
    "NVIDIA's names, but not all": (
        changed(layers__conv__beta=torch.zeros(32)),
        "lacks layers.conv.weight and 375 more",
    ),
    "layers of another network": (changed(layers__0=torch.zeros(1)), "holds 'layers.0', which FID's network"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_another_file_is_one_line(kind: str) -> None:
    entries, cause = REFUSED[kind]
    with pytest.raises(InputError, match=cause) as caught:
        read_weights(state_dict_file(entries), "the file")
    assert (caught.value.item, caught.value.exit_code) == ("the file", 3)
    assert PYTORCH_FID in caught.value.remedy
    assert "github.com/mseitzer/pytorch-fid/releases" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_the_published_digests_agree_with_the_published_name() -> None:
    """torch.hub puts the first digits of the sha256 into a file's name, so that they can be checked."""
    assert set(PUBLISHED.values()) == {PYTORCH_FID, NVIDIA}
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in PUBLISHED)
    (digest,) = (digest for digest, name in PUBLISHED.items() if name == PYTORCH_FID)
    assert f"-{digest[:8]}.pth" in PYTORCH_FID
