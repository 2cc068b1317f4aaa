"""Tensors come back bit by bit, and nothing that is not ours is ever run or half read."""

import ast
import io
import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from infra.errors import IntegrityError
from infra.outputs.tensors import decode_foreign_tensors, decode_tensors, encode_tensors

REPOSITORY = Path(__file__).parents[3]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def some_tensors() -> dict[str, torch.Tensor]:
    drawn = np.random.default_rng(0).integers(0, 1 << 32, 60, dtype=np.uint32).view(np.float32)
    return {
        # Any bit pattern, NaNs with payloads and denormals among them.
        "any bits": torch.from_numpy(drawn.copy()).reshape(3, 4, 5),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 5e-324], dtype=torch.float64),
        "bfloat16": torch.arange(7).to(torch.bfloat16) / 3,
        "int64": torch.tensor([-(1 << 63), (1 << 63) - 1]),
        "uint8": torch.arange(256, dtype=torch.uint8),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "ünïcode.name": torch.ones(1),
    }


def test_every_bit_comes_back() -> None:
    tensors = some_tensors()
    back, scalars = decode_tensors(encode_tensors(tensors, {"n": 3, "x": [1.5, None, "ä"]}), "item")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert bits(back[name]) == bits(tensor), name
    assert scalars == {"n": 3, "x": [1.5, None, "ä"]}


def test_labels_for_other_programs() -> None:
    tensors, labels = some_tensors(), {"format": "pt", "b": "ä", "a": "1"}
    data = encode_tensors(tensors, {"n": 3}, labels)
    assert all(encode_tensors(tensors, {"n": 3}, labels) == data for _ in range(20)), "in one order"
    back, scalars = decode_tensors(data, "item")
    assert scalars == {"n": 3}
    assert {name: bits(tensor) for name, tensor in back.items()} == {name: bits(t) for name, t in tensors.items()}
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    assert json.loads(data[8 : 8 + size])["__metadata__"] == {**labels, "ddpm.scalars": '{"n": 3}'}


def test_files_of_other_programs() -> None:
    tensors = {"a": torch.arange(3.0)}
    ours, scalars = decode_foreign_tensors(encode_tensors(tensors, {"n": 3}), "item")
    assert torch.equal(ours["a"], tensors["a"])
    assert scalars == {"n": 3}
    for metadata in (None, {"format": "pt"}, {"ddpm.scalars": "{"}):
        theirs, scalars = decode_foreign_tensors(safetensors.torch.save(tensors, metadata), "item")
        assert torch.equal(theirs["a"], tensors["a"])
        assert scalars is None
    with pytest.raises(IntegrityError, match=r"^item: is not a safetensors file"):
        decode_foreign_tensors(b"text", "item")


def test_layout_in_memory_does_not_matter() -> None:
    plain = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    last = plain.contiguous(memory_format=torch.channels_last)
    assert last.stride() != plain.stride()
    assert encode_tensors({"a": last}, {}) == encode_tensors({"a": plain}, {})
    back, _ = decode_tensors(encode_tensors({"a": last}, {}), "item")
    assert torch.equal(back["a"], plain)


@pytest.mark.parametrize(
    "view", [lambda t: t.T, lambda t: t[:, ::2], lambda t: t[1:2].expand(5, -1), lambda t: t.flip(0)]
)
def test_views_are_written_as_what_they_show(view: object) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    shown = view(base)
    back, _ = decode_tensors(encode_tensors({"a": shown}, {}), "item")
    assert torch.equal(back["a"], shown)


def test_parameters_that_need_gradients() -> None:
    layer = torch.nn.Linear(3, 2)
    back, _ = decode_tensors(encode_tensors(dict(layer.named_parameters()), {}), "item")
    assert torch.equal(back["weight"], layer.weight)
    assert not back["weight"].requires_grad


def test_equal_arguments_give_equal_bytes() -> None:
    tensors, scalars = some_tensors(), {"b": 1, "a": 2}
    first = encode_tensors(tensors, scalars)
    turned = encode_tensors(dict(reversed(tensors.items())), dict(reversed(scalars.items())))
    assert first == turned


def test_any_difference_gives_other_bytes() -> None:
    base = encode_tensors({"a": torch.zeros(2)}, {"n": 1})
    others = [
        encode_tensors({"a": torch.tensor([0.0, -0.0])}, {"n": 1}),
        encode_tensors({"a": torch.zeros(2, 1)}, {"n": 1}),
        encode_tensors({"b": torch.zeros(2)}, {"n": 1}),
        encode_tensors({"a": torch.zeros(2)}, {"n": 2}),
    ]
    assert len({base, *others}) == 5


class Marker:
    """Pickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def hostile(marker: Path) -> dict[str, bytes]:
    buffer, zipped = io.BytesIO(), io.BytesIO()
    torch.save({"a": Marker(marker)}, buffer)
    np.savez(zipped, a=np.array([Marker(marker)], dtype=object), allow_pickle=True)
    plain = encode_tensors({"a": torch.ones(4)}, {"n": 1})
    import safetensors.torch

    return {
        "pickle": pickle.dumps(Marker(marker)),
        "torch.save": buffer.getvalue(),
        "npz": zipped.getvalue(),
        "empty": b"",
        "short": plain[:7],
        "header cut": plain[:20],
        "data cut": plain[:-1],
        "data added": plain + b"\0",
        "header length huge": b"\xff" * 8 + plain[8:],
        "zeros": bytes(1000),
        "text": b"not a checkpoint at all, but a long enough line of text",
        "somebody else's safetensors": safetensors.torch.save({"a": torch.ones(1)}),
        "metadata of somebody else": safetensors.torch.save({"a": torch.ones(1)}, metadata={"format": "pt"}),
        "scalars that are no JSON": safetensors.torch.save({"a": torch.ones(1)}, metadata={"ddpm.scalars": "{"}),
    }


@pytest.mark.parametrize("kind", hostile(Path("/nowhere")))
def test_garbage_is_refused_and_never_run(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "was run"
    data = hostile(marker)[kind]
    with pytest.raises(IntegrityError, match=r"x\.safetensors") as caught:
        decode_tensors(data, "x.safetensors")
    assert caught.value.exit_code == 6
    assert not marker.exists()


def test_whatever_the_bytes_only_our_error_comes_out() -> None:
    whole = encode_tensors({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(3)}, {"n": 1})
    draw = random.Random(0)
    refused = 0
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        try:
            decode_tensors(bytes(changed[: draw.choice([None, draw.randrange(len(changed))])]), "x")
        except IntegrityError:
            refused += 1
    assert refused > 1500, "most of these are broken headers"


def test_nothing_in_the_product_unpickles() -> None:
    """No module names pickle, torch.load or torch.save: checkpoints cannot run code."""
    banned_modules = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for package in ("ddpm_core", "infra", "flows"):
        for file in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Import(names=names):
                        found = {alias.name.split(".")[0] for alias in names}
                    case ast.ImportFrom(module=str(module)):
                        found = {module.split(".")[0]}
                    case ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save"):
                        found = {"pickle"}
                    case _:
                        continue
                assert not found & banned_modules, f"{file}:{node.lineno}"
