"""The table of the kinds of source, and the source that a config names."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flows.stages.prepare.config import PrepareConfig, SourceKind
from infra.errors import ConfigError, InputError
from infra.record import DatasetInput
from infra.sources.files.begun import BegunFileSet
from infra.sources.files.file_set import FileSet
from infra.sources.files.hub import hub_place
from infra.sources.files.pattern import HUB
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.arrow import ArrowSource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.digits import DigitsSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.idx import IdxSource
from infra.sources.kinds.lmdb import LmdbSource
from infra.sources.kinds.mat import MatSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.pair import Pair, of_test_source
from infra.sources.reading import Reading
from infra.sources.recognition.marks import NOUNS
from infra.sources.recognition.recognition import NO_KIND, recognise
from infra.sources.source import Source
from infra.storage.uri import parse_place

SOURCES: dict[SourceKind, Callable[[FileSet, Reading], Source]] = {
    SourceKind.FOLDER: FolderSource,
    SourceKind.TAR: TarSource,
    SourceKind.ZIP: ZipSource,
    SourceKind.ARRAYS: ArraySource,
    SourceKind.CIFAR: CifarSource,
    SourceKind.PARQUET: ParquetSource,
    SourceKind.ARROW: ArrowSource,
    SourceKind.IDX: IdxSource,
    SourceKind.LMDB: LmdbSource,
    SourceKind.MAT: MatSource,
    SourceKind.DIGITS: lambda _files, reading: DigitsSource(reading),
}

_DIGITS = "code:sklearn.datasets.load_digits"
# From the first part of a path on that is a pattern.
_PATTERN = re.compile(r"/[^/]*[*?\[]")
# A run lists this many places of its data at most.
_MOST_INPUTS = 20

# Outputs below the root that a source could read as images.
_WRITTEN = ("reports/x/samples.png", "prepare/x/units/x.parquet")


def check_source(config: PrepareConfig, root: str | None) -> None:
    """Check the place of the source of images without reading from it.

    Args:
        config: The settings that name it.
        root: The root of all outputs, if there is one. No source must hold it, or pictures of one run become images
            of the next.

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
    for setting, places in (("prepare.source", config.sources), ("prepare.test_source", config.test_sources)):
        files = _files(places, root)
        if any(files.covers(path) for path in files.apart):
            raise ConfigError(
                f"the outputs go to {root}, inside {setting}", item="root", remedy="choose another --root"
            )


@dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A source of images whose kind is known.

    Attributes:
        config: The settings, with the kind that was found in place of `auto`, so that a named and a found kind are one.
        source: The source.
        why: What told the kind, in words; empty if the user named it.
        test_kind: The kind of the held-out source; empty if there is none.
        test_why: What told that kind; empty if the user named it.
        sought: What its listing looks for, in words.
    """

    config: PrepareConfig
    source: Source
    why: str
    sought: str
    test_kind: str = ""
    test_why: str = ""


def open_source(config: PrepareConfig, root: str | None = None) -> OpenedSource:
    """Open the source of images; if its kind is `auto`, its first files tell it, else nothing is read.

    Args:
        config: The settings that name it.
        root: The root of all outputs, as `check_source` takes it.

    Raises:
        InputError: If the source is not set; or if its kind is `auto`, and it is not there or of no single kind.
        ConfigError: If it is not a valid place, is below the home of an unknown user, or holds the root.
    """
    check_source(config, root)
    chosen = config.kind
    files = _files(config.sources, root)
    config, train, why = _opened(config, files)
    sought = f"of the kind {config.kind} ({config.kind.description})"
    if why == NO_KIND:
        sought = f"of any kind ({', '.join(f'{noun}s' for noun in NOUNS.values())})"
    test_kind = test_why = ""
    if config.test_sources:
        test_files = _files(config.test_sources, root)
        # Held-out images may be of another kind: a folder beside an archive.
        with of_test_source():
            test_config, test, test_why = _opened(config.model_copy(update={"kind": chosen}), test_files)
        test_kind = str(test_config.kind)
        train = Pair(train, test, files, test_files)
    return OpenedSource(config=config, source=train, why=why, sought=sought, test_kind=test_kind, test_why=test_why)


def _opened(config: PrepareConfig, files: FileSet) -> tuple[PrepareConfig, Source, str]:
    """Return the config with the kind of these files, their source, and what told the kind."""
    why = ""
    if config.kind == SourceKind.AUTO:
        files = begun = BegunFileSet.of(files)
        found = recognise(begun)
        config, why = config.model_copy(update={"kind": SourceKind(found.kind)}), found.why
    # Of two sources each is a split, whatever tables beside the images say.
    reading = replace(config.reading, use_splits=config.use_splits and not config.test_sources)
    return config, SOURCES[config.kind](files, reading), why


def _files(places: Sequence[str], root: str | None) -> FileSet:
    outputs = () if root is None else tuple(f"{root}/{written}" for written in _WRITTEN)
    return FileSet(tuple(_absolute(text) for text in places), apart=outputs)


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
    places = [_absolute(text) for text in (*config.sources, *config.test_sources)[:_MOST_INPUTS]]
    names = [_PATTERN.split(place)[0].rstrip("/").rpartition("/")[2] or str(config.kind) for place in places]
    return [
        DatasetInput(name=name if names.count(name) == 1 else place, uri=place, digest=digest, purpose=purpose)
        for name, place in zip(names, places, strict=True)
    ]


def _absolute(text: str) -> str:
    if text.startswith(HUB):
        hub_place(_PATTERN.split(text)[0])
        return text
    place = parse_place(text).uri
    # Keep the trailing slash: on S3 it marks a folder.
    return f"{place}/" if text.startswith("s3://") and text.endswith("/") else place
