"""torch.compile for a network: its compiler, its cache and its failures as one line.

Compiled code rounds differently, so that it is part of a result. The code is kept in a folder of the user's, which
every worker on the machine and every later run reads; torch itself would use one below /tmp.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from infra.errors import ResourceError, Term

COMPILING = "compiling the network: about a minute, once per machine"
_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
_VERSION_LIMIT_S = 20


def compile_network(network: nn.Module, first_call: Callable[[], object]) -> None:
    """Compile a network in place, and call it once, so that the time and the failures of compiling come now.

    The network keeps its class and the names of its weights. A call with another shape, dtype or mode compiles again.

    Args:
        network: On its device, in the mode in which it is going to be used.
        first_call: Calls the network as the work will, with a gradient if the work needs one.

    Raises:
        ResourceError: If there is no C++ compiler, or it fails.
    """
    if compiler_version() is None:
        raise ResourceError(
            f"needs a C++ compiler, and {_compiler()} is not there or does not start",
            item="torch.compile",
            remedy=f"install g++, or {Term.UNCOMPILED}",
        )
    _set_folder()
    network.compile(dynamic=False)
    try:
        first_call()
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise ResourceError(
            f"cannot compile this network ({_first_line(error)})", item="torch.compile", remedy=Term.UNCOMPILED
        ) from error


def compiler_version() -> str | None:
    """Return name and version of the C++ compiler that torch.compile calls, $CXX or g++; None if it does not start."""
    name = _compiler()
    path = shutil.which(name)
    if path is None:
        return None
    command = [path, "-dumpfullversion", "-dumpversion"]
    try:
        version = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_VERSION_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{Path(name).name} {version.strip()}"


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def _set_folder() -> None:
    """Keep compiled code below the user's cache folder, closed to others, unless the user chose a folder for it."""
    # torch puts its own default into the environment, as early as an optimiser is built.
    chosen = os.environ.get(_FOLDER, "")
    if chosen and not chosen.startswith(f"{tempfile.gettempdir()}/torchinductor_"):
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows"
    # Compiled code depends on the version of torch.
    folder = base / f"compiled-{torch.__version__}"
    with contextlib.suppress(OSError):  # torch then uses its own folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[_FOLDER] = str(folder)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
