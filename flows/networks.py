"""Trained networks by their addresses, and the digest of a network's content."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_core.network.unet_config import UNetConfig
from flows.exchange.folder import read_folder
from flows.points import find_point, read_points, split_name
from flows.run_record import read_record
from flows.snapshot import TrainedNetwork, decode_snapshot, find_snapshot
from infra.digests import canonical_json, sha256
from infra.errors import InputError
from infra.outputs.manifest import read_verified
from infra.storage.download import is_url
from infra.storage.store import Store
from infra.tracking.resolver import is_registered

_SUFFIX = ".safetensors"
# Settings of a network that its weights work without: the size of images, and the dropout in training.
_NOT_OF_WEIGHTS = ("image_size", "dropout", "attention_resolutions")


class FoundNetwork(NamedTuple):
    """A trained network that was found at an address.

    Attributes:
        data: The bytes of its snapshot.
        place: Where they are, in the form that may be shown; for an alias, the version behind it.
        trained: The network, ready to use.
    """

    data: bytes
    place: str
    trained: TrainedNetwork


def find_network(address: str, store: Store) -> FoundNetwork:
    """Read the network at an address.

    Args:
        address: models:/NAME@ALIAS or models:/NAME/VERSION; the URL of a snapshot file; the path of a snapshot file or
            of a diffusers folder, which has a slash or ends in .safetensors; else the name of a finished run, or
            RUN@best or RUN@IMAGES for a point along its training.
        store: The root of the finished runs; without MLFLOW_TRACKING_URI also of the registered models.

    Raises:
        ConfigError: If we cannot represent the network of a folder, or the address of a registered model is malformed.
        InputError: If there is no network at the address, or its weights are not finite.
        IntegrityError: If the file is damaged, no snapshot, or not the one that was registered or sealed.
        StorageError: If MLflow does not answer.
    """
    if is_path(address) and Path(address).is_dir():
        data, place = read_folder(address)[0], address
    elif is_path(address) or is_url(address) or is_registered(address):
        data, place = find_snapshot(address, root=store.uri)
    else:
        data, place = _of_run(address, store)
    trained = decode_snapshot(data, place)
    if not all(bool(weight.isfinite().all()) for weight in trained.network.state_dict().values()):
        raise InputError("holds weights that are not finite", item=place, remedy="take an earlier snapshot")
    return FoundNetwork(data, place, trained)


def is_path(address: str) -> bool:
    """Tell whether an address is a local path: it has a slash or ends in .safetensors, and is of no other kind."""
    return ("/" in address or address.endswith(_SUFFIX)) and not is_url(address) and not is_registered(address)


def _of_run(address: str, store: Store) -> tuple[bytes, str]:
    """Return the snapshot of a finished run or of a point along it, and its place."""
    name, point = split_name(address)
    try:
        record = read_record(name, store)
    except InputError as error:
        if Path(name).exists():
            error.remedy = f"for the path write ./{name}"
        raise
    manifest = record.finished.snapshot.manifest(store)
    (unit,) = manifest.units
    found = find_point(read_points(manifest.facts), point, record.name).record if point else unit
    return read_verified(store, manifest.folder, found), f"{store.uri}/{manifest.folder}/{found['file']}"


def attention_levels(config: UNetConfig) -> list[int]:
    """Return the levels with attention; level 0 has the size of the images, and each further one half of that."""
    return [level for level, size in enumerate(config.resolutions) if size in config.attention_resolutions]


def network_digest(trained: TrainedNetwork) -> str:
    """Return the sha256 of a network's content: its weights, its shape, its timesteps and the meaning of its output.

    Equal networks have equal digests, whichever file or format they come from. Neither the size of images nor dropout
    counts, because no weight depends on them.
    """
    shape, usual = _shape(trained.network.config), _shape(UNetConfig())
    weights = {
        name: [list(weight.shape), sha256(weight.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())]
        for name, weight in trained.network.state_dict().items()
    }
    content = {
        # Without the defaults, so that a new setting of the network changes no digest.
        "shape": {name: value for name, value in shape.items() if value != usual[name]},
        "timesteps": trained.schedule.num_timesteps,
        "parameterisation": trained.parameterisation.value,
        "variance": trained.variance.value if trained.variance else "",
        "weights": weights,
    }
    return sha256(canonical_json(content))


def _shape(config: UNetConfig) -> dict[str, Any]:
    shape = {name: value for name, value in asdict(config).items() if name not in _NOT_OF_WEIGHTS}
    return shape | {"attention_levels": attention_levels(config)}
