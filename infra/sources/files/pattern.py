"""The folder that a source names, and the glob that the names of its files must match."""

import fnmatch
import glob
import re
from collections.abc import Sequence
from pathlib import Path

from infra.errors import InputError, Term

S3, HUB = "s3://", "hf://"
REMOTE = (S3, HUB)
# A place on the Hub begins with datasets, the owner and the name; a bucket with its name.
_WHOLE_PARTS = {S3: 1, HUB: 3}
_GLOB = re.compile(r"[*?\[]")


class Pattern:
    """A glob, part by part: ** matches any folders, every other part one name; a folder that matches counts whole."""

    def __init__(self, text: str) -> None:
        self._parts = [None if part == "**" else re.compile(fnmatch.translate(part)) for part in text.split("/")]

    def matches(self, name: str) -> bool:
        """Tell whether a file of that name matches, or whether a file below a folder may; a folder ends in a slash."""
        return _match(self._parts, name.split("/"))


def _match(parts: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    if not parts or names == [""]:
        return True
    if not names:
        return False
    if parts[0] is None:
        return _match(parts[1:], names) or _match(parts, names[1:])
    return parts[0].match(names[0]) is not None and _match(parts[1:], names[1:])


def base_and_pattern(source: str) -> tuple[str, Pattern | None]:
    """The folder that the names of a source are relative to, and the pattern that they must match."""
    scheme = next((scheme for scheme in REMOTE if source.startswith(scheme)), "")
    rest = source.removeprefix(scheme)
    parts = rest.rstrip("/").split("/")
    fixed = next((n for n, part in enumerate(parts) if _GLOB.search(part)), None)
    if fixed is not None and (scheme or not Path(source).exists()):
        return scheme + "/".join(parts[:fixed]), Pattern("/".join(parts[fixed:]))
    if _is_file(source, scheme, parts):
        return scheme + "/".join(parts[:-1]), Pattern(glob.escape(parts[-1]))
    return scheme + "/".join(parts), None


def _is_file(source: str, scheme: str, parts: Sequence[str]) -> bool:
    if not scheme:
        return not Path(source).is_dir()
    # A bucket has no folders to ask for, so the name decides: a folder with a dot in its name ends in a slash.
    return len(parts) > _WHOLE_PARTS[scheme] and "." in parts[-1] and not source.endswith("/")


def check_there(source: str) -> None:
    """Refuse a local source that does not exist; a missing one elsewhere shows when it is listed.

    Raises:
        InputError: If there is no such file or folder, or no folder to look for matches of the glob.
    """
    if source.startswith(REMOTE):
        return
    base, _ = base_and_pattern(source)
    is_glob = _GLOB.search(source) and not Path(source).exists()
    if not Path(base or "/").is_dir() or not (is_glob or Path(source).exists()):
        raise InputError("is not there", item=source, remedy=f"set {Term.SOURCE} to a folder, a file or a glob")
