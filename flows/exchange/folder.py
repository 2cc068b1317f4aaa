"""Snapshots to diffusers' folders and back, in safetensors and JSON; neither needs diffusers, and nothing is unpickled.

`DDPMPipeline.from_pretrained` reads such a folder: model_index.json, and one config each in unet/ and scheduler/, with
the weights beside the network's. The file of the weights also carries the snapshot's own description, so that an import
gives the same bytes as long as the folder's settings are the same.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ddpm_core.choices import Variance
from ddpm_core.network.unet import UNetConfig
from flows.exchange.diffusers_scheduler import Process, foreign_process, scheduler_settings
from flows.exchange.diffusers_unet import tensor_name, unet_config, unet_settings
from flows.exchange.files import check_free, local_path, read_bytes, read_settings, settings_json, written_aside
from flows.exchange.foreign_settings import VERSION, Settings
from flows.exchange.model_card import CARD, model_card
from flows.exchange.origin import Origin, RegisteredOrigin
from flows.exchange.weights import WEIGHTS, read_weights, weights_file
from flows.snapshot import (
    TrainedNetwork,
    decode_snapshot,
    encode_snapshot,
    find_snapshot,
    make_schedule,
    registered_tags,
    shown_address,
)
from infra.digests import sha256
from infra.errors import ConfigError, InputError, IntegrityError
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.aside import write_synced

_INDEX, _UNET, _SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
_PIPELINE = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": VERSION,
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}


def export_snapshot(
    snapshot: str, folder: str, fixed_variance: Variance = Variance.FIXED_LARGE, *, root: str = ""
) -> str:
    """Write a snapshot as a folder for diffusers' DDPMPipeline; see `export_network`.

    Args:
        snapshot: A snapshot file or a registered model, as `load_snapshot` takes it.
        folder: The folder to make. If it is there and holds this network, nothing is written.
        fixed_variance: Variance of the steps of sampling, if the network has not learned one.
        root: As for `load_snapshot`.

    Raises:
        InputError: If the snapshot cannot be read.
        StorageError: If MLflow does not answer.
    """
    local_path(folder)
    data, place = find_snapshot(snapshot, root=root)
    tags = registered_tags(place, root=root)
    origin = RegisteredOrigin(version=place, tags=tags) if tags else None
    return export_network(data, shown_address(snapshot), folder, fixed_variance, origin)


def export_network(
    data: bytes, item: str, folder: str, fixed_variance: Variance = Variance.FIXED_LARGE, origin: Origin | None = None
) -> str:
    """Write a snapshot's bytes as a folder for diffusers' DDPMPipeline, with a model card.

    Args:
        data: The snapshot.
        item: Its name, for messages.
        folder: The folder to make. If it is there and holds this network, nothing is written.
        fixed_variance: Variance of the steps of sampling, if the network has not learned one.
        origin: Where it comes from, for the card.

    Returns:
        A line on what it holds.

    Raises:
        ConfigError: If something else is there, or diffusers has no setting for a property of the network.
        IntegrityError: If it is not a snapshot.
    """
    target = local_path(folder)
    network, schedule, parameterisation, variance = decode_snapshot(data, item)
    weights, about = decode_tensors(data, item)
    scheduler = scheduler_settings(about["schedule"], schedule, parameterisation, variance or fixed_variance, item=item)
    renamed = {tensor_name(name): weight for name, weight in weights.items()}
    files = {
        _INDEX: settings_json(_PIPELINE),
        f"unet/{_UNET}": settings_json(unet_settings(network.config, item=item)),
        f"unet/{WEIGHTS}.safetensors": encode_tensors(renamed, about, {"format": "pt"}),
        f"scheduler/{_SCHEDULER}": settings_json(scheduler),
    }
    line = _describe(network.config, scheduler)
    if os.path.lexists(target):
        if not _holds(target, files):
            check_free(target)
        return f"{line}; already there, nothing was written"
    card = model_card(network, scheduler, about, sha256(data), origin)
    with written_aside(target) as place:
        for name, content in {**files, CARD: card.encode()}.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write_synced(place / name, content)
    return line


def write_snapshot(data: bytes, item: str, file: str) -> str:
    """Write a snapshot's bytes as a file.

    Args:
        data: The snapshot.
        item: Its name, for messages.
        file: The file to make. If it is there and holds this snapshot, nothing is written.

    Returns:
        A line on what it holds.

    Raises:
        ConfigError: If something else is there.
        IntegrityError: If it is not a snapshot.
    """
    target = local_path(file)
    network, schedule, _, variance = decode_snapshot(data, item)
    kind = variance.value if variance else "fixed"
    line = _describe(network.config, {"num_train_timesteps": schedule.num_timesteps, "variance_type": kind})
    if target.is_file() and read_bytes(target) == data:
        return f"{line}; already there, nothing was written"
    check_free(target)
    with written_aside(target) as place:
        write_synced(place, data)
    return line


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Tell whether a folder holds these files; the card is the user's to change."""
    return all((folder / name).is_file() and read_bytes(folder / name) == content for name, content in files.items())


def import_folder(folder: str, snapshot: str) -> str:
    """Write the network and the schedule of a diffusers folder as a snapshot.

    Args:
        folder: A folder of a DDPMPipeline, or any with a UNet2DModel and a DDPMScheduler in unet/ and scheduler/.
        snapshot: The file to make; nothing may be there yet.

    Returns:
        A line on what it holds.

    Raises:
        ConfigError: If something is there, or we cannot represent a setting of the folder.
        InputError: If files are missing, cannot be read, or hold other tensors than the settings say.
    """
    target = local_path(snapshot)
    check_free(target)
    data, line = read_folder(folder)
    with written_aside(target) as place:
        write_synced(place, data)
    return line


def read_folder(folder: str) -> tuple[bytes, str]:
    """Return the network and the schedule of a diffusers folder as a snapshot's bytes, and a line on what it holds.

    Args:
        folder: A folder of a DDPMPipeline, or any with a UNet2DModel and a DDPMScheduler in unet/ and scheduler/.

    Raises:
        ConfigError: If we cannot represent a setting of the folder.
        InputError: If files are missing, cannot be read, or hold other tensors than the settings say.
    """
    source = local_path(folder)
    if not source.is_dir():
        raise InputError("is not a folder", item=folder, remedy="download the pipeline, then give its folder")
    _check_pipeline(source)
    unet_file, scheduler_file = _find(source, "unet", _UNET), _find(source, "scheduler", _SCHEDULER)
    settings = read_settings(scheduler_file)
    process = foreign_process(settings, str(scheduler_file))
    config = unet_config(read_settings(unet_file), str(unet_file))
    if config.learned_variance != process.variance.is_learned:
        raise ConfigError(
            f"variance_type is {process.variance.value}, for a network of {config.out_channels} output channels and "
            f"{config.in_channels} image channels; a learned one goes with twice as many, a fixed one with as many",
            item=str(scheduler_file),
        )
    weights, about = read_weights(weights_file(unet_file.parent), config)
    data = _as_exported(weights, about, config, process) or encode_snapshot(
        weights,
        config,
        process.schedule,
        0,
        parameterisation=process.parameterisation,
        variance=process.variance if process.variance.is_learned else None,
    )
    return data, _describe(config, {"num_train_timesteps": 1000, "variance_type": "fixed_small"} | settings)


def _as_exported(weights: dict[str, Tensor], about: object, config: UNetConfig, process: Process) -> bytes | None:
    """Return the snapshot that the folder was exported from, or None if its settings have changed since."""
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
    """Refuse other pipelines, because their networks may work on something other than images."""
    if (folder / _INDEX).exists() and (kind := read_settings(folder / _INDEX).get("_class_name")) != "DDPMPipeline":
        raise ConfigError(
            f"_class_name is {json.dumps(kind)}; we can represent DDPMPipeline", item=str(folder / _INDEX)
        )


def _find(folder: Path, part: str, name: str) -> Path:
    """Return the config of a part: in its own folder, or beside the others as in the first published pipelines."""
    for path in (folder / part / name, folder / name):
        if path.exists():
            return path
    raise InputError(f"has no {part}/{name}", item=str(folder), remedy="give a pipeline's folder")


def _describe(config: UNetConfig, scheduler: Settings) -> str:
    classes = f", {config.num_classes} classes (guidance takes the last for no label)" if config.num_classes else ""
    return (
        f"{'x'.join(map(str, config.image_shape))}{classes}, "
        f"T = {scheduler['num_train_timesteps']}, {scheduler['variance_type']} variance"
    )
