"""A directory of PNG, JPEG and WebP files, in classes or not, split or not."""

import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from infra.errors import InputError
from infra.sources.source import NO_LABEL, Item, Listing, check_listed
from infra.store import sha256

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
_FORMATS = ("PNG", "JPEG", "WEBP")
_SPLITS = {"train": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}
# Limits on one file: whatever is beyond them is a mistake or an attack, not a training image.
_MAX_BYTES = 256 << 20
_MAX_PIXELS = 64_000_000
_REPAIR = "remove or repair the file"


@dataclass(frozen=True)
class FolderSource:
    """Every image file below a directory, hidden ones left out.

    Folders `train` and `test` (or `val`) at the top give the split. Where every image lies in a folder, the folder
    below the split is its class.

    Attributes:
        folder: The directory.
    """

    folder: str

    def list(self) -> Listing:
        """Find every image, in the order of their names, and hash its bytes."""
        root = Path(self.folder)
        if not root.is_dir():
            raise InputError("is not a directory", item=self.folder, remedy="set prepare.source to one")
        paths = _image_files(root)
        if not paths:
            raise InputError(
                f"holds no {', '.join(sorted(s[1:] for s in _SUFFIXES))} files",
                item=self.folder,
                remedy="set prepare.source to a directory of images",
            )
        placed = [_place(path) for path in paths]
        classes = sorted({name for _, name in placed if name})
        labelled = len(classes) > 1 and all(name for _, name in placed)
        items = [
            Item(
                name=path.as_posix(),
                digest=sha256(_read(root / path)),
                split=split,
                label=classes.index(name) if labelled else NO_LABEL,
            )
            for path, (split, name) in zip(paths, placed, strict=True)
        ]
        return Listing(items=items, class_names=classes if labelled else [])

    def reader(self) -> Callable[[Item], Image.Image]:
        """Return the function that decodes one image, whole."""
        root = Path(self.folder)

        def read(item: Item) -> Image.Image:
            path = root / item.name
            data = _read(path)
            check_listed(data, item, str(path))
            return _decode(data, path)

        return read


def _decode(data: bytes, path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = Image.open(BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _MAX_PIXELS:
                raise InputError(f"has {image.width}x{image.height} pixels, over {_MAX_PIXELS}", item=str(path))
            image.load()
    except UnidentifiedImageError as error:
        raise InputError("is not a PNG, JPEG or WebP image", item=str(path), remedy=_REPAIR) from error
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise InputError(f"cannot be decoded ({error})", item=str(path), remedy=_REPAIR) from error
    return image


def _image_files(root: Path) -> list[Path]:
    found = []
    for folder, subfolders, files in os.walk(root, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [
            (Path(folder) / name).relative_to(root)
            for name in files
            if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
        ]
    for path in found:
        if any("\ud800" <= char <= "\udfff" for char in path.as_posix()):
            raise InputError("has a name that is not UTF-8", item=repr(path.as_posix()), remedy="rename the file")
    return sorted(found, key=lambda path: path.as_posix())


def _refuse(error: OSError) -> None:
    raise InputError(f"cannot be listed ({error.strerror})", item=str(error.filename)) from error


def _place(path: Path) -> tuple[str, str]:
    """The split and the class that the folders of a relative path give; empty where they give none."""
    folders = list(path.parts[:-1])
    split = _SPLITS.get(folders[0].lower(), "") if folders else ""
    return split, "/".join(folders[1:] if split else folders)


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError("is not a file", item=str(path), remedy="remove it")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"is larger than {_MAX_BYTES >> 20} MiB", item=str(path))
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=str(path)) from error
