"""An export is whole or not there, goes on after an interruption, and writes over nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows.exchange import png_folder
from flows.exchange.choices import Channels, ExportFormat
from flows.exchange.image_export import export_images
from flows.exchange.partial import partial_file, partial_folder, partial_place
from flows.exchange.selection import Selection
from flows.stage import Progress
from infra.errors import ConfigError, ConflictError, IntegrityError, Interrupted, StorageError
from infra.outputs.images import Images
from infra.sources.files.file_set import FileSet
from infra.sources.fit import fit
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.tar import TarSource
from infra.sources.shape import Shape
from infra.sources.source import Source
from tests.flows.exchange.sealed_images import sealed, selected
from tests.infra.sources.placed import placed

NAMES = {ExportFormat.PNG: "out", ExportFormat.TAR: "out.tar", ExportFormat.NPZ: "out.npz"}
SOURCES: dict[ExportFormat, Callable[[FileSet], Source]] = {
    ExportFormat.PNG: FolderSource,
    ExportFormat.TAR: TarSource,
    ExportFormat.NPZ: ArraySource,
}
each_format = pytest.mark.parametrize("to", NAMES)


def ignore(_: Progress) -> None:
    pass


def interrupt_at(images: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.done >= images:
            raise Interrupted(130)

    return on_progress


def contents(place: Path) -> dict[str, bytes]:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for exports, beside the sealed output."""
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


@pytest.fixture
def grey(tmp_path: Path) -> Selection:
    return selected(sealed(tmp_path / "root")[1])


@each_format
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("as_rgb", [False, True])
def test_our_own_sources_read_the_same_pixels(
    to: ExportFormat, channels: int, as_rgb: bool, tmp_path: Path, out: Path
) -> None:
    images, reader = sealed(tmp_path / "root", channels)
    chosen = Channels.RGB if as_rgb else Channels.AS_IS
    export_images(selected(reader, channels=chosen), to, str(out / NAMES[to]), ignore)
    source = SOURCES[to](FileSet((str(out / NAMES[to]),)))
    entries = placed(source)
    read = zip(entries, source.read(entries), strict=True)
    found: list[Images] = []
    for entry, content in read:
        assert isinstance(content, bytes)
        found.append(fit(source.decode(entry, content), Shape(height=8, width=8, channels=channels), entry.name))
    assert np.array_equal(np.stack(found), images)
    if to is not ExportFormat.PNG:
        assert [entry.label for entry in entries] == [str(number % 3) for number in range(13)]


@each_format
def test_two_exports_are_equal_bytes(to: ExportFormat, tmp_path: Path, out: Path) -> None:
    _, reader = sealed(tmp_path / "root")
    for folder in ("a", "b"):
        export_images(selected(reader), to, str(out / folder / NAMES[to]), ignore)
    first = contents(out / "a" / NAMES[to])
    assert first == contents(out / "b" / NAMES[to])
    assert len(first) == (15 if to is ExportFormat.PNG else 1)


@each_format
def test_the_second_export_does_nothing(to: ExportFormat, grey: Selection, out: Path) -> None:
    target, seen = out / NAMES[to], list[Progress]()
    line = export_images(grey, to, str(target), seen.append)
    assert line == "13 samples, 8x8, 1 channel, labelled"
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 13, 13)
    before = {file: file.stat().st_mtime_ns for file in (target, *target.rglob("*"))}
    again = export_images(grey, to, str(target), interrupt_at(0))
    assert again == f"{line}; already there, nothing was written"
    assert {file: file.stat().st_mtime_ns for file in (target, *target.rglob("*"))} == before
    assert [file.name for file in out.iterdir()] == [NAMES[to]]


@each_format
@pytest.mark.parametrize("taken", ["file", "folder", "empty folder", "dangling link", "another export"])
def test_nothing_is_overwritten(to: ExportFormat, taken: str, grey: Selection, tmp_path: Path, out: Path) -> None:
    target = out / NAMES[to]
    if taken == "another export":
        export_images(selected(grey.reader, limit=4), to, str(target), ignore)
    elif taken == "dangling link":
        target.symlink_to("nowhere")
    elif taken == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        if taken == "folder":
            (target / "000000.png").write_text("mine")
    before = contents(out)
    with pytest.raises(ConfigError) as caught:
        export_images(grey, to, str(target), ignore)
    assert str(caught.value) == f"{target}: is there already - choose another name, or remove it"
    assert contents(out) == before


@each_format
def test_an_interruption_leaves_no_half_of_the_target(to: ExportFormat, grey: Selection, out: Path) -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        interrupt_at(5)(progress)

    with pytest.raises(Interrupted):
        export_images(grey, to, str(out / NAMES[to]), watch)
    kept = 5 if to is ExportFormat.PNG else 0
    assert [(progress.done, progress.kept) for progress in (seen[0], seen[-1])] == [(0, 0), (5, kept)]
    seen.clear()
    left = [file.name for file in out.iterdir()]
    assert left == ([".out.ddpm-partial"] if to is ExportFormat.PNG else [])

    whole = out / "whole" / NAMES[to]
    export_images(grey, to, str(whole), ignore)
    export_images(grey, to, str(out / NAMES[to]), seen.append)
    assert seen[0].start == kept
    assert contents(out / NAMES[to]) == contents(whole)


def test_a_killed_folder_keeps_its_whole_files(grey: Selection, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        export_images(grey, ExportFormat.PNG, str(out / "out"), interrupt_at(10))
    place = partial_place(out / "out")
    # As after a loss of power: one file without its bytes, one without its end, one without its name.
    (place / "000001.png").write_bytes(b"")
    (place / "000002.png").write_bytes((place / "000002.png").read_bytes()[:-4])
    (place / "000010.png.part").write_bytes(b"half")
    written: list[str] = []
    write = png_folder.write_renamed
    monkeypatch.setattr(png_folder, "write_renamed", lambda file, data: (written.append(file.name), write(file, data)))
    export_images(grey, ExportFormat.PNG, str(out / "out"), ignore)
    assert written == [f"{number:06d}.png" for number in (1, 2, 10, 11, 12)] + ["metadata.csv"]
    export_images(grey, ExportFormat.PNG, str(out / "whole"), ignore)
    assert contents(out / "out") == contents(out / "whole")


@pytest.mark.parametrize("to", [ExportFormat.TAR, ExportFormat.NPZ])
def test_a_killed_file_is_begun_anew(to: ExportFormat, grey: Selection, out: Path) -> None:
    target = out / NAMES[to]
    partial_place(target).write_bytes(b"x" * 100_000)
    export_images(grey, to, str(target), ignore)
    export_images(grey, to, str(out / "whole" / NAMES[to]), ignore)
    assert contents(target) == contents(out / "whole" / NAMES[to])
    assert not partial_place(target).exists()


def test_half_of_another_export_is_not_continued(grey: Selection, out: Path) -> None:
    with pytest.raises(Interrupted):
        export_images(selected(grey.reader, channels=Channels.RGB), ExportFormat.PNG, str(out / "out"), interrupt_at(5))
    export_images(grey, ExportFormat.PNG, str(out / "out"), ignore)
    export_images(grey, ExportFormat.PNG, str(out / "whole"), ignore)
    assert contents(out / "out") == contents(out / "whole")


def test_a_stranger_at_the_partial_place_is_left_alone(grey: Selection, out: Path) -> None:
    place = partial_place(out / "out")
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files of someone else"):
        export_images(grey, ExportFormat.PNG, str(out / "out"), ignore)
    assert contents(place) == {"notes.txt": b"mine"}


@each_format
def test_two_at_once(to: ExportFormat, grey: Selection, out: Path) -> None:
    target = out / NAMES[to]
    holder = partial_folder(target) if to is ExportFormat.PNG else partial_file(target)
    with pytest.raises(ConflictError, match="another export writes this - wait for its end"), holder:
        export_images(grey, to, str(target), ignore)
    assert not target.exists()


@each_format
def test_a_target_that_appears_meanwhile_is_kept(to: ExportFormat, grey: Selection, out: Path) -> None:
    target = out / NAMES[to]

    def on_progress(progress: Progress) -> None:
        if progress.done == 13:
            target.write_text("mine")

    with pytest.raises(ConfigError, match="is there already"):
        export_images(grey, to, str(target), on_progress)
    assert target.read_text() == "mine"


def test_places_that_cannot_be(grey: Selection, out: Path) -> None:
    for to, place, message in (
        (ExportFormat.NPZ, str(out / "a"), r"does not end in .npz - name the file a.npz"),
        (ExportFormat.TAR, str(out / "a.npz"), r"does not end in .tar - name the file a.npz.tar"),
        (ExportFormat.PNG, "s3://bucket/a", "s3://bucket/a: only local files are supported"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_images(grey, to, place, ignore)
    (out / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        export_images(grey, ExportFormat.PNG, str(out / "file" / "below"), ignore)
    assert [file.name for file in out.iterdir()] == ["file"]


@each_format
def test_a_damaged_image_is_an_error_and_no_target(to: ExportFormat, grey: Selection, out: Path) -> None:
    last = grey.reader.manifest.units[-1]["file"]
    file = Path(grey.reader.store.uri) / grey.reader.manifest.folder / last
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="differs from its digest"):
        export_images(grey, to, str(out / NAMES[to]), ignore)
    assert not (out / NAMES[to]).exists()


def test_the_folder_says_what_it_is(grey: Selection, out: Path) -> None:
    export_images(grey, ExportFormat.PNG, str(out / "out"), ignore)
    manifest = grey.reader.manifest
    assert json.loads((out / "out" / "export.json").read_text()) == {
        "format": "ddpm-export-png",
        "version": 1,
        "output": manifest.folder,
        "digest": manifest.digest,
        "split": "samples",
        "images": 13,
        "channels": 1,
    }
