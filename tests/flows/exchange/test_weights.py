"""The weights of a folder: ours under other names, and those of older or smaller kinds."""

import json
import shutil
from pathlib import Path

import torch

from flows.exchange.folder import import_folder
from flows.exchange.weights import weights_file
from flows.snapshot import decode_snapshot, load_snapshot
from infra.outputs.tensors import decode_foreign_tensors, encode_tensors
from tests.flows.exchange.diffusers_folders import WEIGHTS, alter


def test_the_layout_and_names_of_the_first_published_pipelines(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in folder.rglob("*.*"):
        shutil.copy(path, flat / path.name)
    tensors, about = decode_foreign_tensors((folder / WEIGHTS).read_bytes(), "")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in tensors.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        renamed[name] = tensor
    assert len(renamed.keys() - tensors.keys()) == 6 * 8
    (flat / Path(WEIGHTS).name).write_bytes(encode_tensors(renamed, about))
    import_folder(str(flat), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "folder.safetensors").read_bytes()


def test_half_precision_becomes_float32(folder: Path, tmp_path: Path) -> None:
    alter(folder, lambda tensors: tensors | {"conv_in.bias": tensors["conv_in.bias"].bfloat16()})
    import_folder(str(folder), str(tmp_path / "b"))
    weights = load_snapshot(str(tmp_path / "b")).network.state_dict()
    before = load_snapshot(f"{folder}.safetensors").network.state_dict()
    assert weights["conv_in.bias"].dtype == torch.float32
    assert torch.equal(weights["conv_in.bias"], before["conv_in.bias"].bfloat16().float())


def test_weights_are_only_renamed(folder: Path) -> None:
    weights, about = decode_foreign_tensors(weights_file(folder / "unet").read_bytes(), "")
    network = decode_snapshot(folder.with_suffix(".safetensors").read_bytes(), "").network
    assert len(weights) == len(network.state_dict())
    assert about["images_seen"] == 640
    assert json.loads((folder / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DModel"]
