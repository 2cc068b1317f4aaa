"""The .npz format: a zip archive of arrays, each below a key of its own."""

import zipfile
import zlib

from infra.errors import InputError
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES

# Keys of images in an archive, each with the possible keys of its labels; per split the first that exists counts.
_WHOLE_KEYS = {
    "images": ("labels", "y"),
    "x": ("y", "labels"),
    "data": ("labels", "y"),
    "arr_0": ("arr_1",),
}
_SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_MAX_MEMBERS = 10_000
# The best ratio that deflate can reach; sizes beyond it are false.
_DEFLATE_RATIO = 1032
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def npz_members(archive: zipfile.ZipFile, path: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by their keys.

    Raises:
        InputError: If there are too many, a key occurs twice, or a size is false.
    """
    infos = archive.infolist()
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) != len(infos) or len(infos) > _MAX_MEMBERS:
        raise InputError("holds a key twice, or too many", item=path, remedy="save it again")
    for info in infos:
        if info.file_size > _DEFLATE_RATIO * (info.compress_size + 1):
            cause = f"says that {info.compress_size} bytes unpack to {info.file_size}"
            raise InputError(cause, item=f"{path}[{info.filename}]", remedy=REPAIR)
    return members


def image_keys(members: dict[str, zipfile.ZipInfo], path: str) -> list[tuple[str, tuple[str, ...], str]]:
    """The keys of images, each with the possible keys of its labels and with its split."""
    found: list[tuple[str, tuple[str, ...], str]] = []
    for name, split in _SPLIT_KEYS.items():
        pairs = {f"{name}_images": (f"{name}_labels",), f"x_{name}": (f"y_{name}",)}
        found += [(key, labels, split) for key, labels in pairs.items() if key in members][:1]
    found = found or [(key, labels, "") for key, labels in _WHOLE_KEYS.items() if key in members][:1]
    if not found:
        keys = ", ".join(list(members)[:8]) or "none"
        raise InputError(f"holds no images: its keys are {keys}", item=path, remedy="save them below the key images")
    return found


def whole_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, item: str) -> bytes:
    """Return the unpacked bytes of a member.

    Raises:
        InputError: If there are too many of them.
    """
    if info.file_size > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=item, remedy="save integers as labels")
    with archive.open(info) as stream:
        return stream.read(MAX_BYTES)
