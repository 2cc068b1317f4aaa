"""DINOv2's network and a user's program on a GPU give the CPU's features."""

import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("safetensors")

from infra.features.dinov2.network import DinoV2
from infra.features.extractor import FEATURES
from infra.features.program import PROGRAM, read_program
from tests.infra.features.dinov2.files import SMALL, random_weights
from tests.infra.features.programs import Moments, exported_file, torchscript_file

pytestmark = pytest.mark.gpu


def images():
    return torch.randint(0, 256, (18, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_are_the_cpus_but_for_rounding(device):
    weights = random_weights(SMALL)
    here = DinoV2(weights, SMALL)(images())
    extract = DinoV2({name: tensor.to(device) for name, tensor in weights.items()}, SMALL)
    there = extract(images())
    assert there.device.type == device.type
    # Products of TF32 would differ by a hundred times more.
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4)
    assert torch.equal(extract(images()), there), "equal images give equal bits"


@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_a_program_moves_to_the_gpu(device, form):
    data = torchscript_file(Moments()) if form == "torchscript" else exported_file(Moments(), 32)
    sealed = read_program(data, "x")
    here = PROGRAM.open(sealed, {})(images())[FEATURES]
    there = PROGRAM.open({name: tensor.to(device) for name, tensor in sealed.items()}, {})(images())[FEATURES]
    assert there.device.type == device.type
    torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=1e-5)
