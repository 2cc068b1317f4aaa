"""Files of torch as data: what torch wrote comes out equal, and a file that would run code is refused before it can."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from infra.errors import InputError
from infra.features.torch_file import read_torch_file

TENSORS = {
    "whole": torch.arange(6.0).reshape(2, 3),
    "turned": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "part": torch.arange(10, dtype=torch.float64)[3:7],
    "number": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.float16),
}


def saved(value: object, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_dict_of_tensors(zipped: bool) -> None:
    shared = torch.arange(8.0)
    value = OrderedDict(TENSORS | {"first": shared[:4], "second": shared[4:], "parameter": nn.Parameter(torch.ones(2))})
    found = read_torch_file(saved(value, zipped=zipped), "x")
    assert list(found) == list(value)
    for name, tensor in value.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert found[name].is_contiguous()
        assert not found[name].requires_grad


@pytest.mark.parametrize("zipped", [True, False])
def test_the_state_dict_of_a_module(zipped: bool) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    found = read_torch_file(saved(module.state_dict(), zipped=zipped), "x")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in module.state_dict().items()
    }


class Scripted(nn.Module):
    """Parameters, buffers, lists, numbers, text and modules in modules."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
        self.register_buffer("table", torch.arange(4.0))
        self.scale = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
        self.sizes, self.name, self.rate = [1, 2], "text", 0.5

    def forward(self, x: Tensor) -> Tensor:
        """Use everything."""
        assert len(self.sizes) == 2, self.name
        inner: Tensor = self.inner(x)
        return inner * self.rate + self.table.sum() + self.scale.sum()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch still writes the archives
def test_a_torchscript_archive() -> None:
    module = Scripted()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    found = read_torch_file(file.getvalue(), "x")
    expected = module.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


class Call:
    """Unpickled by Python, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def zipped(pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def older(pickled: bytes) -> bytes:
    """The form without a zip around a pickle."""
    return b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {})) + pickled


@pytest.mark.parametrize("form", [zipped, older, lambda pickled: pickled])
def test_no_code_of_a_file_runs(tmp_path: Path, form: object) -> None:
    marker = tmp_path / "marker"
    hostile = pickle.dumps({"a": Call(marker)}, 2)
    with pytest.raises(InputError, match=r"asks for posix.system, which is refused"):
        read_torch_file(form(hostile), "x")  # type: ignore[operator]
    assert not marker.exists()
    pickle.loads(hostile)
    assert marker.exists(), "Python's own unpickler would have run it"


def tensor(shape: bytes = b"K\x02\x85", strides: bytes = b"K\x01\x85", *, offset: int = 0, count: int = 2) -> bytes:
    """A dict of one tensor `a`, a view of `count` float32 numbers, instruction by instruction."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK" + bytes([count]) + b"tQ"
    view = storage + b"K" + bytes([offset]) + shape + strides + b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" + view + b"tRs."


def test_the_instructions_of_the_next_test_give_a_tensor() -> None:
    found = read_torch_file(zipped(tensor(), {"0": struct.pack("<2f", 3, 4)}), "x")
    assert found["a"].tolist() == [3, 4]


TWO = {"0": struct.pack("<2f", 3, 4)}
REFUSED = {
    "no file of torch": (b"\x00\x01", "is not a file of tensors"),
    "empty": (b"", "ends too early"),
    "a picture": (b"\x89PNG\r\n", "holds the pickle instruction"),
    "another zip": (zipped(b"", {}).replace(b"data.pkl", b"data.txt"), "without data.pkl"),
    "another pickle": (pickle.dumps({"a": 1}, 2), "another program wrote it"),
    "no tensor": (saved({"a": 1}), "a is no tensor"),
    "a storage too few": (zipped(tensor(), {}), "There is no item named"),
    "a storage cut short": (zipped(tensor(), {"0": b"\0" * 4}), "a has 4 bytes"),
    "a storage too long": (zipped(tensor(), {"0": b"\0" * 80}), "is compressed, or has 80 bytes"),
    "compressed": (zipped(tensor(), TWO, zipfile.ZIP_DEFLATED), "is compressed"),
    "beyond its numbers": (zipped(tensor(offset=1), TWO), r"a tensor of shape \[2\] has 2 numbers"),
    "larger than its numbers": (
        zipped(tensor(shape=b"J\x00\x00\x00\x40\x85", strides=b"K\x00\x85"), TWO),
        r"shape \[1073741824\] has 2 numbers",
    ),
    "negative": (zipped(tensor(shape=b"J\xff\xff\xff\xff\x85"), TWO), "a tensor has no shape"),
    "a stride too few": (zipped(tensor(strides=b")"), TWO), "a tensor has no shape"),
    "a class that is called": (zipped(b"\x80\x02c__torch__\nA\nK\x01\x85\x81."), "calls __torch__.A with other"),
    "a state of a text": (zipped(b"\x80\x02U\x01a}b."), "sets the state of something that has no state"),
    "text as tensor": (zipped(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nU\x01a\x85R."), "calls torch._utils._reb"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_or_foreign_file_is_one_line(kind: str) -> None:
    data, cause = REFUSED[kind]
    with pytest.raises(InputError, match=cause) as caught:
        read_torch_file(data, "file")
    assert caught.value.item == "file"
    assert "\n" not in str(caught.value)


def test_many_views_of_one_storage_take_no_memory() -> None:
    value = torch.zeros(1000)
    with pytest.raises(InputError, match="is not a file of tensors"):
        read_torch_file(saved({str(n): value for n in range(100)}), "x")


def test_names_of_any_length_take_no_memory() -> None:
    """Each object holds the next under a name of 200 letters."""
    name = b"X" + struct.pack("<I", 200) + b"n" * 200
    chain = b"\x80\x02" + b"c__torch__\nA\n)\x81}" + (name + b"c__torch__\nA\n)\x81}") * 5 + b"b" + b"sb" * 5 + b"."
    with pytest.raises(InputError, match="a name is too long"):
        read_torch_file(zipped(chain), "x")


def test_a_storage_that_is_not_listed() -> None:
    whole = saved({"a": torch.zeros(2)}, zipped=False)
    start = whole.rindex(b"\x80\x02]")
    with pytest.raises(InputError, match="lists other storages"):
        read_torch_file(whole[:start] + b"\x80\x02].", "x")


def test_modules_that_hold_each_other_end() -> None:
    """a.b is b and b.a is a."""
    loop = b"\x80\x02c__torch__\nA\n)\x81q\x00}X\x01\0\0\0bc__torch__\nB\n)\x81}X\x01\0\0\0ah\x00sbsb."
    assert read_torch_file(zipped(loop), "x") == {}


@pytest.mark.parametrize("zipped", [True, False])
def test_damage_anywhere_is_an_input_error(zipped: bool) -> None:
    whole = saved({"a": torch.arange(4.0)}, zipped=zipped)
    for place in range(0, min(len(whole), 1200), 3):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :]):
            try:
                read_torch_file(data, "x")
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017 - most changes fail, some only change a value
