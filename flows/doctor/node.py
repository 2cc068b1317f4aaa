"""The question to each node of a cluster: its versions, room and GPUs, and whether it sees the root."""

import hashlib
import importlib.util
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from flows.doctor.installed import version_of
from flows.options import name_options
from infra.compute.answers import this_node
from infra.compute.hardware import Hardware
from infra.compute.system import ray_temporary_folder, space
from infra.errors import DdpmError, StorageError, error_to_json
from infra.storage.open import open_store
from infra.storage.store import Store
from infra.storage.trial import BRIEF
from infra.storage.uri import parse_place

PACKAGES = ("ray", "torch", "numpy", "pyarrow")
_OURS = ("ddpm_core", "flows", "infra")
_SHARED = Path("/dev/shm")
# A network file system may show a new file late.
_PATIENCE_S = 5.0
_PAUSE_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Node:
    """The answer of a node.

    Attributes:
        hardware: Its hardware, and the versions that count for outputs.
        versions: Versions by name: Python, packages, and this code by its digest.
        used: The share of the disk of Ray's temporary folder that is not free.
        shared: All bytes of /dev/shm, used or not; None if there is none.
        files: The most files that a process may open.
        fault: Why it cannot use the root, as `error_to_json` writes it; empty if it can.
    """

    hardware: Hardware
    versions: Mapping[str, str]
    used: float
    shared: int | None
    files: int
    fault: str = ""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the answer that `Question` gives."""
        return cls(**{**values, "hardware": Hardware.from_json(values["hardware"])})


@dataclass(frozen=True, kw_only=True)
class Question:
    """Asks the node that calls it.

    Attributes:
        root: The root.
        folder: The name of a folder below it, with an object `driver`; empty if the root is not to be looked at.
        token: The bytes of that object, as text.
    """

    root: str
    folder: str
    token: str

    def __call__(self) -> dict[str, Any]:
        """Return a `Node` as JSON values."""
        from infra.compute.probe import probe_node

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        node = Node(
            hardware=probe_node(),
            versions=versions(),
            used=space(ray_temporary_folder()).used,
            shared=space(_SHARED).total if _SHARED.is_dir() else None,
            files=soft,
            fault=self._fault(),
        )
        return asdict(node)

    def _fault(self) -> str:
        try:
            if self.folder:
                self._use_root()
        except DdpmError as error:
            name_options(error)
            return error_to_json(error)
        return ""

    def _use_root(self) -> None:
        """Read the driver's object; only then, because the root is the same one, write an object beside it."""
        store = _brief_store(self.root)
        found = read_soon(store, f"{self.folder}/driver")
        if found is None or found.decode(errors="replace") != self.token:
            raise StorageError(
                "does not see the root: an object of the driver's is missing there",
                item=self.root,
                remedy="mount the folder there under the same path, or take an s3:// root",
            )
        store.put_if_absent(f"{self.folder}/{this_node()}", self.token.encode())


def _brief_store(root: str) -> Store:
    place = parse_place(root)
    if place.scheme == "s3":
        from infra.storage.s3_store import S3Store

        return S3Store(place.bucket, place.path, BRIEF)
    return open_store(root)


def read_soon(store: Store, name: str) -> bytes | None:
    """Return an object's bytes as soon as it appears; None if it does not within seconds."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return store.read(name)
        except FileNotFoundError:
            if time.monotonic() > end:
                return None
            time.sleep(_PAUSE_S)  # a shared folder shows a new file late; bounded by _PATIENCE_S


def versions() -> dict[str, str]:
    """Return the versions that must be equal on all nodes, by name."""
    return {
        "Python": platform.python_version(),
        **{package: version_of(package) or "missing" for package in PACKAGES},
        "ddpm-flows": f"{version_of('ddpm-flows') or 'not installed'}, code {code_digest()[:8]}",
    }


def code_digest() -> str:
    """Return the sha256 over this project's own source files and their names."""
    digest = hashlib.sha256()
    for package in _OURS:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder).as_posix()}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
