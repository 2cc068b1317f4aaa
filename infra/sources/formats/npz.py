"""The .npz format: a zip archive of arrays, each below a key of its own."""

import zipfile
import zlib
from collections.abc import Sequence

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.files.file import MAX_BYTES
from infra.sources.formats.array_names import IMAGES, LABELS, ArrayName, array_name

# The keys that NumPy gives to arrays without a name: images, then labels.
_WITHOUT_WORDS = ("arr_0", "arr_1")
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


def image_keys(keys: Sequence[str], path: str) -> list[tuple[str, str, str]]:
    """Return the keys of images, each with the key of its labels and with its split; either may be empty.

    Keys with a word for a split count if there are any, one per split; else the only one of images, or the usual one.

    Raises:
        InputError: If no key or several keys may hold the images.
    """
    names = {key: array_name(key) for key in keys if key not in _WITHOUT_WORDS}
    by_split = {
        split: sorted((key for key in names if names[key].split == split and names[key].role == IMAGES), key=_rank)
        for split in ("train", "val", "test")
    }
    found = [(same[0], split) for split, same in by_split.items() if same] or [(key, "") for key in _whole(names, keys)]
    if not found or (len(found) > 1 and not all(split for _, split in found)):
        cause = f"holds {'several' if found else 'no'} images: its keys are {', '.join(keys[:8]) or 'none'}"
        raise InputError(cause, item=path, remedy="save them below the key images")
    return [(key, _labels_of(key, names, keys, alone=len(found) == 1), split) for key, split in found]


def _rank(key: str) -> tuple[int, int]:
    return array_name(key).rank


def _whole(names: dict[str, ArrayName], keys: Sequence[str]) -> list[str]:
    """The keys that may hold images without a split; several only if no rule decides."""
    usual = sorted((key for key, name in names.items() if name.role == IMAGES and not name.words), key=_rank)[:1]
    images = [key for key, name in names.items() if name.role == IMAGES]
    rest = [key for key, name in names.items() if name.role != LABELS]
    return usual or images or [key for key in _WITHOUT_WORDS[:1] if key in keys] or (rest if len(rest) == 1 else [])


def _labels_of(key: str, names: dict[str, ArrayName], keys: Sequence[str], *, alone: bool) -> str:
    """The key of the labels of these images; empty if there is none."""
    if key in _WITHOUT_WORDS:
        return next((other for other in _WITHOUT_WORDS[1:] if other in keys), "")
    labels = [other for other, name in names.items() if name.role == LABELS]
    matching = [other for other in labels if names[other].labels(names[key])]
    # x goes with y, images with labels; the other way round if that is all there is.
    matching.sort(key=lambda other: ("y" in names[other].all_words) != ("x" in names[key].all_words))
    found = matching or [other for other in labels if alone and not names[other].words]
    return min(found, key=lambda other: names[other].may_name_classes, default="")


def whole_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, item: str) -> bytes:
    """Return the unpacked bytes of a member.

    Raises:
        InputError: If there are too many of them.
    """
    if info.file_size > MAX_BYTES:
        raise InputError(
            f"is larger than {MAX_BYTES >> 20} MiB",
            item=item,
            remedy=f"save integers as labels, or set {Term.LABELS}=none",
        )
    with archive.open(info) as stream:
        return stream.read(MAX_BYTES)
