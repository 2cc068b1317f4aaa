"""The code and the Python that a process runs: a job of a cluster has to run what its driver runs."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from infra.errors import ConfigError

_TOP = Path(__file__).parent.parent.parent
_PACKAGES = ("ddpm_core", "infra", "flows")
_RELEASE = "ddpm-flows"
_SHOWN_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that a process runs.

    Attributes:
        python: Python's version without its last part, such as 3.11.
        release: The release of ddpm-flows.
        source: The digest of its source.
    """

    python: str
    release: str
    source: str


def own_code(top: Path = _TOP) -> Code:
    """Return the code of this process.

    Args:
        top: The folder that holds the packages.
    """
    try:
        release = metadata.version(_RELEASE)
    except metadata.PackageNotFoundError:
        release = "unknown"
    return Code(python=".".join(platform.python_version_tuple()[:2]), release=release, source=source_digest(top))


def source_digest(top: Path) -> str:
    """Return the digest of the modules of all packages, by their paths and bytes, wherever they are installed."""
    digest = hashlib.sha256()
    for path in sorted(path for package in _PACKAGES for path in (top / package).rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(top).as_posix()} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def check_code(wanted: Mapping[str, str], own: Code, host: str) -> None:
    """Refuse to run a job for a driver that runs other code.

    Args:
        wanted: The fields of the driver's code.
        own: The code of this process.
        host: The name of this machine.

    Raises:
        ConfigError: If the two differ.
    """
    names = {"python": "Python", "release": "ddpm-flows", "source": "its source"}
    # In the words of the driver, who reads the line: `here` is the driver's.
    differing = [
        f"{words} {there[:_SHOWN_DIGITS]}, here {wanted.get(name, 'unknown')[:_SHOWN_DIGITS]}"
        for name, words in names.items()
        if (there := getattr(own, name)) != wanted.get(name)
    ]
    if differing:
        raise ConfigError(
            f"has other code than this run ({'; '.join(differing)})",
            item=f"cluster, host {host}",
            remedy="install one release of ddpm-flows, with its constraints, here and on every node",
        )
