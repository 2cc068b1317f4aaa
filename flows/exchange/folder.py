"""Snapshots to diffusers' folders and back, in safetensors and JSON; neither needs diffusers, and nothing is unpickled.

A folder is what `DDPMPipeline.from_pretrained` takes: model_index.json, and below unet/ and scheduler/ a config each,
with the weights beside the network's. The weights' file also carries the snapshot's own description, so that the way
back gives the same bytes, as long as the folder's settings say the same.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_core.choices import Variance
from ddpm_core.network.unet import UNet, UNetConfig
from flows.exchange.diffusers_scheduler import Process, foreign_process, scheduler_settings
from flows.exchange.diffusers_unet import modern_name, tensor_name, unet_config, unet_settings
from flows.exchange.foreign_settings import VERSION, Settings
from flows.snapshot import TrainedNetwork, decode_snapshot, encode_snapshot, make_schedule
from infra.errors import ConfigError, InputError, IntegrityError, ResourceError, StorageError
from infra.outputs.tensors import decode_foreign_tensors, decode_tensors, encode_tensors
from infra.storage.aside import NO_SPACE, replaced, write_synced

_WEIGHTS = "diffusion_pytorch_model"
_INDEX, _UNET, _SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
_PIPELINE = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": VERSION,
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # each a float32 without loss


def export_snapshot(snapshot: str, folder: str, fixed_variance: Variance = Variance.FIXED_LARGE) -> str:
    """Write a snapshot as a folder for diffusers' DDPMPipeline.

    Args:
        snapshot: A snapshot file.
        folder: The folder to make; nothing may be there yet.
        fixed_variance: Of the steps of sampling, where the network has learned none.

    Returns:
        A line on what it holds.

    Raises:
        ConfigError: If something is there, or diffusers has no setting for a property of the network.
        InputError: If the snapshot cannot be read.
        IntegrityError: If it is none.
    """
    target, source = _local(folder), _local(snapshot)
    _check_free(target)
    data = _read(source)
    network, schedule, parameterisation, variance = decode_snapshot(data, snapshot)
    weights, about = decode_tensors(data, snapshot)
    scheduler = scheduler_settings(
        about["schedule"], schedule, parameterisation, variance or fixed_variance, item=snapshot
    )
    renamed = {tensor_name(name): weight for name, weight in weights.items()}
    files = {
        _INDEX: _to_json(_PIPELINE),
        f"unet/{_UNET}": _to_json(unet_settings(network.config, item=snapshot)),
        f"unet/{_WEIGHTS}.safetensors": encode_tensors(renamed, about, {"format": "pt"}),
        f"scheduler/{_SCHEDULER}": _to_json(scheduler),
    }
    with _aside(target) as place:
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write_synced(place / name, content)
    return _describe(network.config, scheduler)


def import_folder(folder: str, snapshot: str) -> str:
    """Write the network and the schedule of a diffusers folder as a snapshot.

    Args:
        folder: A folder of a DDPMPipeline, or any with a UNet2DModel and a DDPMScheduler in unet/ and scheduler/.
        snapshot: The file to make; nothing may be there yet.

    Returns:
        A line on what it holds.

    Raises:
        ConfigError: If something is there, or a setting of the folder is none that we can represent.
        InputError: If files are missing, cannot be read, or hold other tensors than the settings ask for.
    """
    source, target = _local(folder), _local(snapshot)
    _check_free(target)
    if not source.is_dir():
        raise InputError("is not a folder", item=folder, remedy="download the pipeline, then give its folder")
    _check_pipeline(source)
    unet_file, scheduler_file = _find(source, "unet", _UNET), _find(source, "scheduler", _SCHEDULER)
    settings = _read_json(scheduler_file)
    process = foreign_process(settings, str(scheduler_file))
    config = unet_config(_read_json(unet_file), str(unet_file))
    if config.learned_variance != process.variance.is_learned:
        raise ConfigError(
            f"variance_type is {process.variance.value}, for a network of {config.out_channels} output channels and "
            f"{config.in_channels} image channels; a learned one goes with twice as many, a fixed one with as many",
            item=str(scheduler_file),
        )
    weights, about = _read_weights(_weights_file(unet_file.parent), config)
    data = _as_exported(weights, about, config, process) or encode_snapshot(
        weights,
        config,
        process.schedule,
        0,
        parameterisation=process.parameterisation,
        variance=process.variance if process.variance.is_learned else None,
    )
    with _aside(target) as place:
        write_synced(place, data)
    return _describe(config, {"num_train_timesteps": 1000, "variance_type": "fixed_small"} | settings)


def _as_exported(weights: dict[str, Tensor], about: object, config: UNetConfig, process: Process) -> bytes | None:
    """The snapshot that the folder was exported from, where its settings still say the same."""
    if not isinstance(about, dict):
        return None
    data = encode_tensors(weights, about)
    try:
        before = decode_snapshot(data, "")
    except IntegrityError:
        return None
    return data if _same(before, config, process) else None


def _same(before: TrainedNetwork, config: UNetConfig, process: Process) -> bool:
    betas, was = make_schedule(**process.schedule).betas, before.network.config
    return (
        {**vars(was), "attention_resolutions": set(was.attention_resolutions)}
        == {**vars(config), "attention_resolutions": set(config.attention_resolutions)}
        and betas.shape == before.schedule.betas.shape
        and torch.allclose(betas, before.schedule.betas, rtol=1e-12, atol=0)
        and before.parameterisation is process.parameterisation
        and before.variance is (process.variance if process.variance.is_learned else None)
    )


def _check_pipeline(folder: Path) -> None:
    """Refuse other pipelines: their network may work on something else than images."""
    if (folder / _INDEX).exists() and (kind := _read_json(folder / _INDEX).get("_class_name")) != "DDPMPipeline":
        raise ConfigError(
            f"_class_name is {json.dumps(kind)}; we can represent DDPMPipeline", item=str(folder / _INDEX)
        )


def _find(folder: Path, part: str, name: str) -> Path:
    """The config of a part: below the folder, or in it, as the first published pipelines have it."""
    for path in (folder / part / name, folder / name):
        if path.exists():
            return path
    raise InputError(f"has no {part}/{name}", item=str(folder), remedy="give a pipeline's folder")


def _weights_file(folder: Path) -> Path:
    whole = folder / f"{_WEIGHTS}.safetensors"
    if whole.exists():
        return whole
    remedy = "write it with diffusers' save_pretrained(..., safe_serialization=True, max_shard_size='100GB')"
    if (folder / f"{whole.name}.index.json").exists():
        raise InputError("has its weights in several files", item=str(folder), remedy=remedy)
    if (folder / f"{_WEIGHTS}.bin").exists():
        raise InputError("has its weights only pickled, and those could run code", item=str(folder), remedy=remedy)
    raise InputError(f"has no {whole.name}", item=str(folder), remedy=remedy)


def _read_weights(file: Path, config: UNetConfig) -> tuple[dict[str, Tensor], Any]:
    """The network's weights by our names, checked, and what an export of ours says of them."""
    try:
        found, about = decode_foreign_tensors(_read(file), str(file))
    except IntegrityError as error:
        raise InputError(error.cause, item=str(file)) from error
    old, found = found, {modern_name(name): tensor for name, tensor in found.items()}
    if len(found) < len(old):
        raise InputError("has attentions under old and new names", item=str(file))
    with torch.device("meta"):
        wanted = {name: weight.shape for name, weight in UNet(config, seed=None).state_dict().items()}
    names = {tensor_name(name): name for name in wanted}
    for what, others in (("lacks", names.keys() - found.keys()), ("has the unknown", found.keys() - names.keys())):
        if others:
            raise InputError(f"{what} tensor {min(others)}, the first of {len(others)}", item=str(file))
    for theirs, ours in names.items():
        _check_tensor(found[theirs], theirs, wanted[ours], str(file))
    return {ours: found[theirs].float() for theirs, ours in names.items()}, about


def _check_tensor(tensor: Tensor, name: str, shape: torch.Size, item: str) -> None:
    if tensor.shape != shape:
        raise InputError(f"tensor {name} is of shape {list(tensor.shape)}, not {list(shape)}", item=item)
    if tensor.dtype not in _FLOATS:
        raise InputError(f"tensor {name} is of {tensor.dtype}, not of 32 or 16 bits floating", item=item)
    if not bool(tensor.isfinite().all()):
        raise InputError(f"tensor {name} holds numbers that are not finite", item=item)


def _describe(config: UNetConfig, scheduler: Settings) -> str:
    classes = f", {config.num_classes} classes (guidance takes the last for no label)" if config.num_classes else ""
    return (
        f"{config.in_channels}x{config.image_size}x{config.image_size}{classes}, "
        f"T = {scheduler['num_train_timesteps']}, {scheduler['variance_type']} variance"
    )


def _local(path: str) -> Path:
    if "://" in path:
        raise ConfigError("only local files are supported", item=path, remedy="copy it to or from there")
    return Path(path).absolute()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=str(file)) from error


def _read_json(file: Path) -> Settings:
    try:
        settings = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", item=str(file)) from error
    if not isinstance(settings, dict):
        raise InputError("holds no settings", item=str(file))
    return settings


def _to_json(settings: Settings) -> bytes:
    return f"{json.dumps(settings, indent=2, sort_keys=True)}\n".encode()


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise ConfigError("is there already", item=str(target), remedy="choose another name, or remove it")


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A place to write a file or a folder: whole, it becomes `target`; else nothing of it stays."""
    try:
        with replaced(target) as place:
            yield place
            _check_free(target)
    except OSError as error:
        kind = ResourceError if error.errno in NO_SPACE else StorageError
        raise kind(f"cannot be written ({error.strerror})", item=str(target), remedy="choose another place") from error
