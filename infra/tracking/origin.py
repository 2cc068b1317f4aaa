"""The user who started a run and the code it came from, for the columns of MLflow's list of runs."""

import getpass
import re
from importlib import metadata
from pathlib import Path

_CODE = Path(__file__).parent.parent
_PACKAGE = "ddpm-flows"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def origin_tags(code: Path = _CODE) -> dict[str, str]:
    """MLflow's system tags of a run.

    Args:
        code: The folder that holds the packages.
    """
    tags = {"mlflow.user": _user(), "mlflow.source.name": "ddpm", "mlflow.source.type": "LOCAL"}
    commit = git_commit(code)
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def git_commit(code: Path) -> str:
    """The commit checked out in a folder, or nothing if the folder is not the top of a git checkout.

    Folders above are not searched: an installed package often lies inside the checkout of another project.
    """
    try:
        return _commit(_git_folder(code / ".git"))
    except (OSError, UnicodeDecodeError):
        return ""


def source_name(code: Path = _CODE) -> str:
    """Return the commit that is checked out in a folder of packages, or the release that is installed there.

    A release is named like `release-0.1.0`. The name is empty if neither is known.
    """
    if commit := git_commit(code):
        return commit
    try:
        return f"release-{metadata.version(_PACKAGE)}"
    except metadata.PackageNotFoundError:
        return ""


def _git_folder(entry: Path) -> Path:
    # In a further work tree `.git` is a file that names the folder.
    if entry.is_file():
        return entry.parent / entry.read_text().removeprefix("gitdir:").strip()
    return entry


def _commit(git: Path) -> str:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else ""
    reference = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = git / common.read_text().strip() if common.is_file() else git
    loose = shared / reference
    if loose.is_file():
        commit = loose.read_text().strip()
        return commit if _COMMIT.fullmatch(commit) else ""
    for line in (shared / "packed-refs").read_text().splitlines():
        commit, _, name = line.partition(" ")
        if name == reference and _COMMIT.fullmatch(commit):
            return commit
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user ID may have no name
        return "unknown"
