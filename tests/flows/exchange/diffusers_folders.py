"""Snapshots with random weights, and diffusers' folders to change one thing in."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.network.unet import UNet
from flows.exchange.folder import export_snapshot
from flows.snapshot import encode_snapshot
from infra.outputs.tensors import decode_foreign_tensors, encode_tensors
from tests.oracles.unet import SMALL, with_random_weights

LINEAR = {"kind": "linear", "num_timesteps": 20, "beta_start": 1e-3, "beta_end": 0.3, "zero_terminal_snr": False}
CONFIG = {"unet": "unet/config.json", "scheduler": "scheduler/scheduler_config.json", "index": "model_index.json"}
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
# Every property of our network, in small.
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one channel": {"in_channels": 1},
    "attention at two sizes": {"channel_mults": (1, 2, 4), "attention_resolutions": (4, 8)},
    "attention in the middle alone": {"attention_resolutions": ()},
    "one level": {"channel_mults": (1,), "attention_resolutions": (8,), "num_res_blocks": 1},
    "two heads": {"num_heads": 2},
    "eight heads": {"num_heads": 8, "attention_resolutions": (4, 2)},
    "scale shift": {"scale_shift_norm": True},
    "classes": {"num_classes": 4},
    "dropout": {"dropout": 0.5},
    "learned variance": {"learned_variance": True},
    "all at once": {
        "in_channels": 1,
        "num_heads": 4,
        "scale_shift_norm": True,
        "num_classes": 3,
        "dropout": 0.25,
        "learned_variance": True,
        "norm_groups": 2,
    },
}


def write_snapshot(
    file: Path,
    schedule: dict[str, Any] | None = None,
    images_seen: int = 640,
    parameterisation: Parameterisation = Parameterisation.EPS,
    **network: Any,
) -> UNet:
    """Write a snapshot of the small network, some of its settings changed, and return the network."""
    config = replace(SMALL, **network)
    net = with_random_weights(UNet(config))
    assert isinstance(net, UNet)
    variance = Variance.LEARNED_RANGE if config.learned_variance else None
    data = encode_snapshot(
        net.state_dict(),
        config,
        schedule or LINEAR,
        images_seen,
        parameterisation=parameterisation,
        variance=variance,
    )
    file.write_bytes(data)
    return net


def exported(folder: Path, **network: Any) -> Path:
    """An exported folder, and beside it the snapshot, `NAME.safetensors`."""
    snapshot = folder.with_suffix(".safetensors")
    write_snapshot(snapshot, **network)
    export_snapshot(str(snapshot), str(folder))
    return folder


def settings(folder: Path, part: str) -> dict[str, Any]:
    """The settings in one of a folder's files."""
    found = json.loads((folder / CONFIG[part]).read_bytes())
    assert isinstance(found, dict)
    return found


def change(folder: Path, part: str, **changes: Any) -> None:
    """Change settings in one of a folder's files; `...` takes one out."""
    found = {name: value for name, value in (settings(folder, part) | changes).items() if value is not ...}
    (folder / CONFIG[part]).write_text(json.dumps(found))


def alter(folder: Path, work: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Change the tensors of a folder."""
    tensors, about = decode_foreign_tensors((folder / WEIGHTS).read_bytes(), "")
    (folder / WEIGHTS).write_bytes(encode_tensors(work(tensors), about))
