"""The names of images in the rows of metadata files: their spellings, and the keys by which they are looked up."""

import re
from collections.abc import Callable
from hashlib import blake2b

from infra.sources.formats.members import printable
from infra.sources.formats.metadata import own_name
from infra.sources.listing.folders import split_of_folder

# A folder, or an archive with its suffixes.
_OUTERMOST = re.compile(r"([^/!.]+)(?:/|\.[^/!]*!)")


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


# The ways in which a row may name an image, the strictest first: by its path, without its suffix, from any folder.
SPELLINGS: tuple[Callable[[str], str], ...] = (str, _stem, own_name, lambda name: _stem(own_name(name)))


def normal(name: str, *, in_archive: bool) -> str:
    """Return a name as the file spells it, in the form of the names of entries."""
    name = name.replace("\\", "/")
    while name.startswith(("./", "/")):
        name = name[1:] if name[0] == "/" else name[2:]
    return printable(name) if in_archive else name


def key_of(name: str) -> int:
    """Return the key of a name, a number of 64 bits."""
    return int.from_bytes(blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def place_of(scope: str, split: str) -> str:
    """Return the place of a file of labels, with which the names in its rows begin.

    Args:
        scope: Its folder or archive.
        split: The split of whose images alone it tells; empty for all.
    """
    return f"{scope}\0{split}\0" if split else scope


def split_and_below(name: str) -> tuple[str, str]:
    """Return the split that the outermost folder or archive names, and the name from there; else the whole name."""
    if (found := _OUTERMOST.match(name)) and (split := split_of_folder(found[1])):
        return split, name[found.end() :]
    return "", name
