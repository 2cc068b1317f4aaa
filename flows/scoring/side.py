"""A side of a score: the images of a source or of a run, or a file of statistics, by the words that name it."""

import glob
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from flows.artifacts import Dataset
from flows.metrics.metric import ImageSet
from flows.metrics.reference_file import is_reference_file
from flows.run import list_runs, open_run
from flows.stage import Context
from flows.stages.prepare.config import PrepareConfig, ResizeFilter, SourceKind
from flows.stages.prepare.preparation import prepare
from flows.stages.prepare.sources import open_source
from infra.errors import InputError
from infra.sources.files.pattern import S3
from infra.sources.source import Entry, Source

_SPLITS = ("samples", "train", "test")
_SUFFIXES = {
    (".tar", ".tar.gz", ".tgz"): SourceKind.TAR,
    (".zip",): SourceKind.ZIP,
    (".npz", ".npy"): SourceKind.ARRAYS,
    (".parquet",): SourceKind.PARQUET,
    ("-ubyte", "-ubyte.gz"): SourceKind.IDX,
    (".png", ".jpg", ".jpeg", ".webp"): SourceKind.FOLDER,
}
# A folder's kind is that of the first names in it that tell one.
_NAMES = 10_000
_GREY = ("1", "L", "I", "I;16", "F")


@dataclass(frozen=True, kw_only=True)
class Side:
    """Images to score, or the statistics of some.

    Attributes:
        images: The sealed images; None if there are only statistics.
        dataset: Their data set, or that of the run that drew them.
        statistics: The file of statistics; empty if there are images.
    """

    images: ImageSet | None = None
    dataset: Dataset | None = None
    statistics: str = ""


def open_side(text: str, name: str, config: PrepareConfig, given: Collection[str], context: Context) -> Side:
    """Find what a text names, and seal its images if they are no run's.

    All images of a source are taken, whatever its splits, and none is resized unless a size is given.

    Args:
        text: A path, glob or s3:// URI of images; a run's name for its samples, or NAME/samples, NAME/train or
            NAME/test; or a file with mu and sigma.
        name: The images in words, for figures' notes.
        config: The settings of preparation.
        given: The settings among them that the user chose, as in `prepare.image_size`.
        context: The outside world.

    Raises:
        InputError: If there is no such path and no such run, or an image cannot be taken as it is.
    """
    text = _expanded(text)
    if text.lower().endswith(".npz") and is_reference_file(text):
        return Side(statistics=text)
    if _is_name(text):
        return _of_run(text, name, context)
    settings: dict[str, Any] = {"source": text, "use_splits": False, "holdout_fraction": 0.0}
    if "prepare.kind" not in given:
        settings["kind"] = _kind(text)
    config = config.model_copy(update=settings)
    size, channels = _shape(open_source(config, context.store.uri), text)
    if "prepare.image_size" not in given:
        if size[0] != size[1]:
            raise InputError(
                f"holds images of {size[0]}x{size[1]} pixels, and only squares are scored as they are",
                item=text,
                remedy="--set prepare.image_size=N cuts out squares and resizes them",
            )
        config = config.model_copy(update={"image_size": size[0], "resize_filter": ResizeFilter.NONE})
    if "prepare.channels" not in given:
        config = config.model_copy(update={"channels": channels})
    dataset = prepare(config, context, splits=("train",))
    images = ImageSet(images=dataset, split="train", count=dataset.train_images, name=name)
    return Side(images=images, dataset=dataset)


def _expanded(text: str) -> str:
    """Return a path with its `~` resolved, for a shell that left it; a home that is not there is left to fail later."""
    return os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111 - Path raises if there is none


def _is_name(text: str) -> bool:
    return not text.startswith(S3) and not glob.has_magic(text) and not Path(text).exists()


def _of_run(text: str, name: str, context: Context) -> Side:
    run, _, split = text.partition("/")
    split = split or _SPLITS[0]
    known = list_runs(context.store.uri)
    if split not in _SPLITS or not any(one == run or one.endswith(f"-{run}") for one in known):
        raise InputError(
            "is neither a path nor a run", item=text, remedy=f"give images, or a run's name below {context.store.uri}"
        )
    opened = open_run(run, context.store.uri)
    counts = {"samples": opened.samples.count, "train": opened.dataset.train_images, "test": opened.dataset.test_images}
    images = ImageSet(
        images=opened.samples if split == "samples" else opened.dataset, split=split, count=counts[split], name=name
    )
    return Side(images=images, dataset=opened.dataset)


def _kind(text: str) -> SourceKind:
    names: Iterator[str] = iter([text])
    if not text.startswith(S3) and Path(text).is_dir():
        names = (str(path) for path in islice(Path(text).rglob("*"), _NAMES))
    kinds = {kind for name in names for ends, kind in _SUFFIXES.items() if name.lower().endswith(ends)}
    return SourceKind.FOLDER if not kinds or SourceKind.FOLDER in kinds else sorted(kinds)[0]


def _shape(source: Source, text: str) -> tuple[tuple[int, int], int]:
    """Return width and height of the first image, and the channels that keep all there is of it."""
    entry = next((found for found in source.find() if isinstance(found, Entry)), None)
    if entry is None:
        raise InputError("holds no images", item=text, remedy="check it, or name its format by prepare.kind")
    (content,) = source.read([entry])
    if isinstance(content, InputError):
        raise content
    image: Image.Image = source.decode(entry, content)
    return image.size, 1 if image.mode in _GREY else 3
