"""A snapshot: the averaged weights, with the config that built the network and its schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_core.choices import NetworkVariance, Parameterisation, ScheduleKind, Variance
from ddpm_core.named import named_schedule
from ddpm_core.network.unet import UNet, UNetConfig
from ddpm_core.schedule import NoiseSchedule, custom_schedule, with_zero_terminal_snr
from flows.root import resolve_root, tracking_place
from infra.digests import sha256
from infra.errors import InputError, IntegrityError
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.download import download, is_url, without_secrets
from infra.tracking.resolver import is_registered, registered_file


class TrainedNetwork(NamedTuple):
    """A trained network, ready to use.

    Attributes:
        network: The network in evaluation mode; if it has classes, the last one stands for no label.
        schedule: The schedule that it was trained with.
        parameterisation: The quantity that it predicts.
        variance: The variance that it learned, if any.
    """

    network: UNet
    schedule: NoiseSchedule
    parameterisation: Parameterisation
    variance: Variance | None


def make_schedule(
    kind: str,
    num_timesteps: int,
    beta_start: float,
    beta_end: float,
    *,
    zero_terminal_snr: bool = False,
    betas: Sequence[float] = (),
) -> NoiseSchedule:
    """Build the training schedule that a config names; the kind `custom` takes a table of betas.

    Raises:
        ValueError: If the kind is unknown, or there are not exactly `num_timesteps` custom betas.
    """
    if kind != "custom":
        first, last = beta_start, beta_end
        return named_schedule(ScheduleKind(kind), num_timesteps, first, last, zero_terminal_snr=zero_terminal_snr)
    if len(betas) != num_timesteps:
        raise ValueError(f"a schedule of {num_timesteps} timesteps needs as many betas; got {len(betas)}")
    schedule = custom_schedule(torch.tensor(betas, dtype=torch.float64))
    return with_zero_terminal_snr(schedule) if zero_terminal_snr else schedule


def channels_last(network: UNet) -> UNet:
    """Lay out the convolutions' weights with the channels last in memory, which is faster on CPUs and GPUs."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def encode_snapshot(
    weights: dict[str, Tensor],
    unet: UNetConfig,
    schedule: dict[str, Any],
    images_seen: int,
    *,
    parameterisation: Parameterisation = Parameterisation.EPS,
    variance: Variance | None = None,
) -> bytes:
    """Write a snapshot as safetensors bytes; see `TrainedNetwork`."""
    settings = {
        "unet": asdict(unet),
        "schedule": schedule,
        "images_seen": images_seen,
        "parameterisation": parameterisation.value,
        "variance": variance.value if variance else NetworkVariance.FIXED.value,
    }
    return encode_tensors(weights, settings)


def decode_snapshot(data: bytes, item: str) -> TrainedNetwork:
    """Build the network and its schedule from a snapshot's bytes.

    Raises:
        IntegrityError: If the bytes are not a snapshot.
    """
    weights, settings = decode_tensors(data, item)
    try:
        shape: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in settings["unet"].items()
        }
        network = UNet(UNetConfig(**shape), seed=None)
        network.load_state_dict(weights)
        schedule = make_schedule(**settings["schedule"])
        parameterisation = Parameterisation(settings["parameterisation"])
        variance = NetworkVariance(settings["variance"]).learned
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise IntegrityError(f"is not a snapshot ({error})".splitlines()[0], item=item) from error
    return TrainedNetwork(network.eval().requires_grad_(False), schedule, parameterisation, variance)


def load_snapshot(uri: str, storage_options: Mapping[str, Any] | None = None, *, root: str = "") -> TrainedNetwork:
    """Load a snapshot file, such as train/<key>/snapshots/<images>.<digest>.safetensors below a root.

    Args:
        uri: A local path; a URL that fsspec opens, such as s3://bucket/key or https://host/file; or a registered model,
            models:/NAME@ALIAS or models:/NAME/VERSION.
        storage_options: Options of the URL's service, as in pandas, such as {"anon": True} for a public bucket.
        root: For a registered model without MLFLOW_TRACKING_URI: the root whose MLflow database knows it, a folder or
            s3://bucket/prefix; if it is empty, DDPM_ROOT, else ./ddpm-runs.

    Raises:
        ConfigError: If the address of a registered model has another form.
        InputError: If the file cannot be read, or there is no such registered model.
        IntegrityError: If it is not a snapshot, or not the one that was registered.
        StorageError: If MLflow does not answer.
    """
    return decode_snapshot(read_snapshot(uri, storage_options, root=root), shown_address(uri))


def read_snapshot(uri: str, storage_options: Mapping[str, Any] | None = None, *, root: str = "") -> bytes:
    """Return the bytes of a snapshot file; arguments and errors are those of `load_snapshot`."""
    return find_snapshot(uri, storage_options, root=root)[0]


def find_snapshot(uri: str, storage_options: Mapping[str, Any] | None = None, *, root: str = "") -> tuple[bytes, str]:
    """Return the bytes of a snapshot file, and its address for people: for an alias, the version behind it.

    Arguments and errors are those of `load_snapshot`.
    """
    if not is_registered(uri):
        return _read(uri, storage_options), shown_address(uri)
    file = registered_file(uri, tracking_place(resolve_root(root))[0])
    try:
        data = _read(file.uri, storage_options)
    except InputError as error:
        cause = f"the snapshot of {file.version}, {shown_address(file.uri)}, {error.cause}"
        raise InputError(cause, item=uri, remedy="restore the file, or run where it is") from error
    if sha256(data) != file.sha256:
        item = shown_address(file.uri)
        raise IntegrityError(f"differs from the digest that {file.version} was registered with", item=item)
    return data, file.version


def registered_tags(version: str, *, root: str = "") -> Mapping[str, str]:
    """Return what a run noted of a version that it registered; empty if the address is no registered model's.

    Args:
        version: The place that `find_snapshot` returned.
        root: As for `load_snapshot`.
    """
    return registered_file(version, tracking_place(resolve_root(root))[0]).tags if is_registered(version) else {}


def shown_address(uri: str) -> str:
    """Return a snapshot's address in the form that may be shown."""
    return without_secrets(uri) if is_url(uri) else uri


def _read(uri: str, storage_options: Mapping[str, Any] | None) -> bytes:
    if is_url(uri):
        return download(uri, storage_options)
    try:
        return Path(uri).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=uri) from error
