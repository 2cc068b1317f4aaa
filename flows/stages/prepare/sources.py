"""The table of the kinds of source, and the source that a config names."""

import re
from collections.abc import Callable

from flows.stages.prepare.config import PrepareConfig, SourceKind
from infra.errors import ConfigError, InputError
from infra.record import DatasetInput
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.digits import DigitsSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.idx import IdxSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.reading import Reading
from infra.sources.source import Source
from infra.storage.uri import parse_place

SOURCES: dict[SourceKind, Callable[[FileSet, Reading], Source]] = {
    SourceKind.FOLDER: FolderSource,
    SourceKind.TAR: TarSource,
    SourceKind.ZIP: ZipSource,
    SourceKind.ARRAYS: ArraySource,
    SourceKind.CIFAR: CifarSource,
    SourceKind.PARQUET: ParquetSource,
    SourceKind.IDX: IdxSource,
    SourceKind.DIGITS: lambda _files, reading: DigitsSource(reading),
}

_DIGITS = "code:sklearn.datasets.load_digits"
# From the first part of a path on that is a pattern.
_PATTERN = re.compile(r"/[^/]*[*?\[]")
# A run lists this many places of its data at most.
_MOST_INPUTS = 20

# Outputs below the root that a source could read as images.
_WRITTEN = ("reports/x/samples.png", "prepare/x/units/x.parquet")


def open_source(config: PrepareConfig, root: str) -> Source:
    """Return the source of images without reading from it.

    Args:
        config: The settings that name it.
        root: The root of all outputs. The source must not hold it, or pictures of one run become images of the next.

    Raises:
        InputError: If the source is not set.
        ConfigError: If it is not a valid place, is below the home of an unknown user, or holds the root.
    """
    if not config.sources and config.kind != SourceKind.DIGITS:
        raise InputError(
            f"is not set ({config.kind}: {config.kind.description})",
            item="prepare.source",
            remedy="--set prepare.source=PATH",
        )
    files = FileSet(tuple(_absolute(text) for text in config.sources))
    if any(files.covers(f"{root}/{written}") for written in _WRITTEN):
        raise ConfigError(
            f"the outputs go to {root}, inside prepare.source", item="root", remedy="choose another --root"
        )
    return SOURCES[config.kind](files, config.reading)


def source_inputs(config: PrepareConfig, digest: str, purpose: str) -> list[DatasetInput]:
    """Return the data that a run starts from in the form in which MLflow lists inputs, each place once.

    MLflow tells data sets by name and digest. If equal data lies at several places of one name, its pages show the one
    that came first.

    Args:
        config: The settings that name the source.
        digest: The key of the data as listed.
        purpose: The purpose of reading it.
    """
    if config.kind == SourceKind.DIGITS:
        return [DatasetInput(name=str(config.kind), uri=_DIGITS, digest=digest, purpose=purpose)]
    places = [_absolute(text) for text in config.sources[:_MOST_INPUTS]]
    names = [_PATTERN.split(place)[0].rstrip("/").rpartition("/")[2] or str(config.kind) for place in places]
    return [
        DatasetInput(name=name if names.count(name) == 1 else place, uri=place, digest=digest, purpose=purpose)
        for name, place in zip(names, places, strict=True)
    ]


def _absolute(text: str) -> str:
    place = parse_place(text).uri
    # Keep the trailing slash: on S3 it marks a folder.
    return f"{place}/" if text.startswith("s3://") and text.endswith("/") else place
