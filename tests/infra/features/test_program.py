"""A user's program gives its own features or one line, and runs no sooner than it is opened."""

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from infra.errors import InputError, Term
from infra.features import program
from infra.features.extractor import FEATURES
from infra.features.program import PROGRAM, read_program
from tests.infra.features.programs import Moments, exported_file, torchscript_file

SIDE = 8
FORMS = {"torchscript": torchscript_file, "exported": lambda module: exported_file(module, SIDE)}


def images(count: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def features(data: bytes, of: Tensor) -> Tensor:
    return PROGRAM.open(read_program(data, "x"), {})(of)[FEATURES]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2, 17, 40])
def test_features_are_the_programs_output_for_any_number_of_images(form: str, count: int) -> None:
    found = features(FORMS[form](Moments()), images(count))
    with torch.no_grad():
        torch.testing.assert_close(found, Moments()(images(count)))
    assert found.dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
def test_it_sees_three_channels_and_a_few_images_at_a_time(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "BATCH", 3)
    found = features(FORMS[form](Moments()), images(7, 1))
    with torch.no_grad():
        torch.testing.assert_close(found, Moments()(images(7, 1).expand(-1, 3, -1, -1)))


def test_no_code_runs_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [form(Moments()) for form in FORMS.values()]
    for module in (torch.jit, torch.export, torch):
        monkeypatch.setattr(module, "load", lambda *_: pytest.fail("the file was loaded"))
    for data in files:
        (sealed,) = read_program(data, "x").values()
        assert sealed.numpy().tobytes() == data


class Half(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).to(torch.bfloat16)


def test_other_floating_point_numbers_become_float32() -> None:
    found = features(torchscript_file(Half()), images(2))
    torch.testing.assert_close(found, images(2).flatten(1).to(torch.bfloat16).float())


class Whole(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).long()


class Maps(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1).mean(0, keepdim=True)


class Nothing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1)[:, :0]


class Endless(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1) / 0


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.float(), images.float()


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1) @ torch.zeros(5, 5)


class Growing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1)[:, : len(images)]


REFUSED = {
    "whole numbers": (Whole(), r"gives torch.int64 of shape \[16, 192\]"),
    "maps": (Maps(), r"gives torch.float32 of shape \[16, 3, 8, 8\] for 16 images"),
    "one row": (Mean(), r"of shape \[1, 192\] for 16 images"),
    "no columns": (Nothing(), r"of shape \[16, 0\] for 16 images"),
    "infinite": (Endless(), "gives numbers that are not finite"),
    "two tensors": (Pair(), "gives a tuple, not one tensor"),
    "an error": (Broken(), r"fails on images of shape \[16, 3, 8, 8\] \(.*mat1 and mat2"),
    "several widths": (Growing(), "gives features of several widths"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_any_other_output_is_one_line(kind: str) -> None:
    module, cause = REFUSED[kind]
    with pytest.raises(InputError, match=cause) as caught:
        features(torchscript_file(module), images(17))
    assert (caught.value.item, caught.value.exit_code) == ("the program", 3)
    assert "uint8 images [n, 3, h, w]" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_an_exported_program_says_which_size_it_was_exported_for() -> None:
    with pytest.raises(InputError, match=r"fails on images of shape \[2, 3, 8, 8\] \(.*9"):
        features(exported_file(Moments(), 9), images(2))


def test_another_file_is_one_line() -> None:
    state = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, state)
    for data in (b"", b"no zip", state.getvalue()):
        with pytest.raises(InputError, match="is neither a TorchScript archive nor an exported program") as caught:
            read_program(data, "a file")
        assert (caught.value.item, caught.value.remedy) == ("a file", program.REMEDY)


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_program_is_one_line(form: str) -> None:
    data = bytearray(FORMS[form](Moments()))
    place = data.index(b"data.pkl" if form == "torchscript" else b"model.json") + 300
    data[place : place + 60] = b"\0" * 60
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        features(bytes(data), images(2))
    assert "\n" not in str(caught.value)


def test_no_file_is_let_through_without_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "program.pt"
    file.write_bytes(torchscript_file(Moments()))
    assert PROGRAM.file is not None
    with pytest.raises(InputError, match="is no published file") as caught:
        PROGRAM.file.bytes_of(str(file), "")
    assert Term.WEIGHTS_DIGEST in caught.value.remedy
    with pytest.raises(InputError, match="has the sha256"):
        PROGRAM.file.bytes_of(str(file), "0" * 64)
    assert PROGRAM.is_tried
