"""A side of a score: the images of a source or of a run, or a file of statistics, by the words that name it."""

import glob
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ddpm_core.network.image_size import ImageSize, image_size_of
from flows.artifacts import Dataset
from flows.metrics.metric import ImageSet
from flows.metrics.reference_file import is_reference_file
from flows.run import list_runs, open_run
from flows.stage import Context
from flows.stages.prepare.config import PrepareConfig, ResizeFilter, SourceKind
from flows.stages.prepare.preparation import prepare
from flows.stages.prepare.sources import open_source
from infra.errors import InputError
from infra.sources.decode import decoding
from infra.sources.files.pattern import S3
from infra.sources.listing.choosing import chosen
from infra.sources.source import Content, Entry, Source

_SPLITS = ("samples", "train", "test")
# Takes all images of a source, and reads no labels, which no metric of two sides asks for.
_WHOLE = {"test_source": "", "use_splits": False, "holdout": 0.0, "labels": "none"}
# Beside a run of grey images so many of a source tell whether all are grey, since decoding all twice costs too much.
_SPREAD = 64
_FEWEST = 2
_GREY = ("1", "L", "I", "I;16", "F")


# Receives the number of channels and the size of images.
OnShape = Callable[[int, ImageSize], object]


def _ignore(*_: object) -> None:
    pass


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


def open_sides(
    samples: str,
    reference: str,
    config: PrepareConfig,
    given: Collection[str],
    context: Context,
    *,
    on_shape: OnShape = _ignore,
) -> tuple[Side, Side]:
    """Open both sides of a score; a run comes first, since its channels decide on those of a folder beside it.

    Args:
        samples: The images to judge, as `open_side` takes them.
        reference: The images to compare them with, or the file of their statistics.
        config: The settings of preparation.
        given: The settings among them that the user chose.
        context: The outside world.
        on_shape: Receives the shape of each side's images before these are prepared.

    Raises:
        InputError: If a side is not there, or has fewer than 2 images.
    """
    texts = [(samples, "images"), (reference, "reference images")]
    first = 1 if _is_name(_expanded(reference)) else 0
    opened = open_side(*texts[first], config, given, context, on_shape=on_shape)
    is_run = _is_name(_expanded(texts[first][0]))
    grey = is_run and opened.dataset is not None and opened.dataset.channels == 1
    other = open_side(*texts[1 - first], config, given, context, beside_grey=grey, on_shape=on_shape)
    return (other, opened) if first else (opened, other)


def open_side(
    text: str,
    name: str,
    config: PrepareConfig,
    given: Collection[str],
    context: Context,
    *,
    beside_grey: bool = False,
    on_shape: OnShape = _ignore,
) -> Side:
    """Find what a text names, and seal its images if they are no run's.

    All images of a source are taken, whatever its splits and labels, and none is resized unless a size is given. They
    are taken as colour, in which grey ones lose nothing, unless channels are given or the other side is a run of grey
    images.

    Args:
        text: A path, glob or s3:// URI of images; a run's name for its samples, or NAME/samples, NAME/train or
            NAME/test; or a file with mu and sigma.
        name: The images in words, for figures' notes.
        config: The settings of preparation.
        given: The settings among them that the user chose, as in `prepare.image_size`.
        context: The outside world.
        beside_grey: Whether the other side is a run of grey images.
        on_shape: Receives the shape of the images before they are prepared.

    Raises:
        InputError: If there is no such path and no such run, or an image cannot be taken as it is, or there are fewer
            than 2 images.
    """
    if file := statistics_file(text):
        return Side(statistics=file)
    text = _expanded(text)
    if _is_name(text):
        side = _of_run(text, name, context)
        if side.dataset is not None:
            on_shape(side.dataset.channels, side.dataset.image_size)
        return side
    settings: dict[str, Any] = {"source": text, **_WHOLE}
    if "prepare.kind" not in given:
        settings["kind"] = SourceKind.AUTO
    opened = open_source(config.model_copy(update=settings), context.store.uri)
    config, source = opened.config, opened.source
    entries = _spread(source, text)
    with decoding():
        width, height = _image(source, entries[0], *source.read(entries[:1])).size
    if "prepare.image_size" not in given:
        size = image_size_of(height, width)
        config = config.model_copy(update={"image_size": size, "resize_filter": ResizeFilter.NONE})
    if "prepare.channels" not in given:
        is_grey = beside_grey and _are_grey(source, entries)
        config = config.model_copy(update={"channels": 1 if is_grey else 3})
    on_shape(config.channels, config.image_size)
    dataset = prepare(config, context)
    _check_count(dataset.train_images, text)
    images = ImageSet(images=dataset, split="train", count=dataset.train_images, name=name)
    return Side(images=images, dataset=dataset)


def holds_images(text: str) -> bool:
    """Tell whether a text names images of a source, which are prepared, and neither a run nor statistics."""
    return not _is_name(_expanded(text)) and not statistics_file(text)


def statistics_file(text: str) -> str:
    """Return the path or URI of the file of statistics that a text names; empty if it names images."""
    text = _expanded(text)
    return text if text.lower().endswith(".npz") and is_reference_file(text) else ""


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
    _check_count(counts[split], text)
    images = ImageSet(
        images=opened.samples if split == "samples" else opened.dataset, split=split, count=counts[split], name=name
    )
    return Side(images=images, dataset=opened.dataset)


def _spread(source: Source, text: str) -> list[Entry]:
    """Return the first entry and others spread over the listing, at most `_SPREAD` in all."""
    kept: list[Entry] = []
    count, every = 0, 1
    for entry in (found for found in chosen(source.find()) if isinstance(found, Entry)):
        if count % every == 0:
            if len(kept) == _SPREAD:
                kept, every = kept[::2], 2 * every
            if count % every == 0:
                kept.append(entry)
        count += 1
    if not kept:
        raise InputError("holds no images", item=text, remedy="check it, or name its format by prepare.kind")
    _check_count(count, text)
    return kept


def _check_count(count: int, text: str) -> None:
    if count < _FEWEST:
        cause = f"holds {count or 'no'} image{'' if count else 's'}, and a score needs at least {_FEWEST}"
        raise InputError(cause, item=text, remedy="add images")


def _image(source: Source, entry: Entry, content: Content) -> Image.Image:
    """Decode an image.

    Raises:
        InputError: If it cannot be read.
    """
    if isinstance(content, InputError):
        raise content
    return source.decode(entry, content)


def _are_grey(source: Source, entries: Sequence[Entry]) -> bool:
    """Tell whether all images that can be read are grey; preparation deals with the others."""
    for entry, content in zip(entries, source.read(entries), strict=True):
        with suppress(InputError), decoding():
            if _image(source, entry, content).mode not in _GREY:
                return False
    return True
