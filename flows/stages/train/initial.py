"""The network that training starts from: found once, sealed below the root by its content, and read by every worker.

<root>/initial/<key>/units/000000.<sha>.safetensors    the snapshot; the key stands for its digest alone
             /sources/<sha>.json                       the digest that was found at an address
"""

import json
from pathlib import Path

import torch

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig
from flows.given import Given
from flows.networks import find_network, is_path, network_digest
from flows.snapshot import TrainedNetwork, decode_snapshot
from infra.digests import canonical_json, sha256
from infra.errors import DdpmError, InputError, IntegrityError
from infra.outputs.plan import Output, Plan
from infra.storage.store import Store

SETTING = "train.initial"
STAGE = "initial"
FORMAT_VERSION = 1
_UNIT = "units/000000"
_KEY_DIGITS = 20


def find_initial(address: str, store: Store) -> Given:
    """Find the network at an address and seal it below the root; a sealed network stands in for one that has gone.

    Args:
        address: As `find_network` takes it.
        store: The root.

    Raises:
        ConfigError: If our network cannot represent it.
        InputError: If there is no network at the address, and none was sealed when one was there.
        IntegrityError: If it is damaged.
        StorageError: If MLflow does not answer.
    """
    memory = f"{STAGE}/sources/{sha256(_lasting(address).encode())[:_KEY_DIGITS]}.json"
    try:
        found = find_network(address, store)
    except DdpmError as error:
        given = _recall(memory, store, error) if isinstance(error, InputError) else None
        if given is None:
            error.stage, error.item = "train", f"{SETTING}: {error.item}"
            raise
        return given
    given = Given(digest=network_digest(found.trained), place=found.place)
    _seal(given, found.data, store)
    store.replace(memory, canonical_json({"digest": given.digest, "place": given.place}))
    return given


def _lasting(address: str) -> str:
    """Return the address such that it means the same in every working directory."""
    return str(Path(address).absolute()) if is_path(address) else address


def _recall(memory: str, store: Store, error: InputError) -> Given | None:
    """Return the network that was found at an address before, unless there was none."""
    try:
        known = json.loads(store.read(memory))
        given = Given(
            digest=known["digest"],
            place=known["place"],
            remark=f"{error.item} {error.cause}; training starts from the network that it held, which is kept below "
            f"{store.uri}/{_output(known['digest'], store).folder}",
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as damage:
        raise IntegrityError(
            "is damaged", item=memory, remedy="delete it, and give a network that is there"
        ) from damage
    return given if _output(given.digest, store).manifest({}) is not None else None


def _output(digest: str, store: Store) -> Output:
    return Output(
        store=store, plan=Plan(stage=STAGE, format_version=FORMAT_VERSION, settings={}, inputs={"network": digest})
    )


def _seal(given: Given, data: bytes, store: Store) -> None:
    output = _output(given.digest, store)
    if output.manifest({}) is not None:
        return
    output.begin({})
    record = output.commit(_UNIT, "safetensors", data, {})
    output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], {"place": given.place})


def read_initial(digest: str, store: Store) -> TrainedNetwork:
    """Read a sealed network by the digest of its content.

    Raises:
        IntegrityError: If it is missing or damaged.
    """
    output = _output(digest, store)
    record = output.record(_UNIT)
    if record is None:
        raise IntegrityError("the network to start from is missing", item=output.folder, remedy="run again")
    try:
        return decode_snapshot(output.read(record), f"{output.folder}/{record.file}")
    except IntegrityError as error:
        error.remedy = f"delete the folder {store.uri}/{output.folder}, then run again"
        raise


def first_network(shape: UNetConfig, seed: int, initial: str, store: Store) -> UNet:
    """Return the network as it is before the first step.

    Args:
        shape: Its shape.
        seed: Of fresh weights.
        initial: The digest of the network to start from; empty for fresh weights.
        store: The root that holds that network.

    Returns:
        A network with fresh weights, or those of the initial network. If the numbers of classes differ, the embeddings
        of the classes are fresh, and that of no label is the initial network's.

    Raises:
        IntegrityError: If the initial network is missing or damaged.
    """
    network = UNet(shape, seed=seed)
    if initial:
        weights = read_initial(initial, store).network.state_dict()
        name = "class_embedding.weight"
        if name in weights and len(weights[name]) != shape.num_classes:
            fresh = network.state_dict()[name]
            weights[name] = torch.cat((fresh[:-1], weights[name][-1:]))
        network.load_state_dict(weights)
    return network
