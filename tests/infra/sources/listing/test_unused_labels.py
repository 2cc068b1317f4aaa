"""A file of labels that the rule does not use ends no listing, whatever is in it; one that the rule needs does."""

import gzip
import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, Term
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.idx import IdxSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.listing.listing import Listing
from infra.sources.reading import Reading
from tests.infra.sources.kinds.test_cifar import PYTHON
from tests.infra.sources.kinds.test_tar import packed
from tests.infra.sources.kinds.test_zip import packed as zipped
from tests.infra.sources.listing.label_kinds import Make
from tests.infra.sources.listing.test_ruling import found

IMAGES = {f"{name}/{name}_{n}.png": b"" for name in ("cat", "dog") for n in range(2)}
KINDS = {"folder": FolderSource, "tar": TarSource, "zip": ZipSource}
UNUSED = ("none", "folder", "file_name")
# Files that no rule can read as labels.
BROKEN = {
    "no UTF-8": {"metadata.csv": b"\xff\xfe"},
    "no JSON": {"dataset.json": b'{"labels": ['},
    "no object": {"metadata.jsonl": b"[1]\n"},
    "no pairs": {"dataset.json": b'{"labels": [1], "hair": [1]}'},
    "no file name": {"labels.csv": b"file_name,label,hair\n,a,a\n"},
    "no name of a class": {"labels.csv": b"file_name,label,hair\nq.png,a\x07,a\x07\n"},
}
# Files that only tell labels beside an image, in archives.
SIDECARS = {
    "no text": {"cat/cat_0.cls": b"\xff"},
    "of no image": {"cat/x.cls": b"a"},
    "no JSON": {"cat/cat_0.json": b"{"},
}


def listed(folder: Path, kind: str, extra: Mapping[str, bytes], labels: str) -> Listing:
    files = dict(sorted((IMAGES | dict(extra)).items()))
    contents = files if kind == "folder" else {f"a.{kind}": (packed if kind == "tar" else zipped)(files.items())}
    return found(folder, KINDS[kind], contents, Reading(labels=labels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_metadata_ends_only_what_needs_it(tmp_path: Path, kind: str, broken: str) -> None:
    for labels in UNUSED:
        assert listed(tmp_path / labels, kind, BROKEN[broken], labels).class_names == ["cat", "dog"] * (
            labels != "none"
        )
    for labels in ("auto", "metadata", "column:hair"):
        with pytest.raises(InputError, match=next(iter(BROKEN[broken]))):
            listed(tmp_path / labels.replace(":", "_"), kind, BROKEN[broken], labels)


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("broken", BROKEN)
def test_labels_beside_the_images_need_no_metadata(tmp_path: Path, kind: str, broken: str) -> None:
    beside = {f"{name[:-4]}.cls": b"c%d" % (n % 2) for n, name in enumerate(IMAGES)}
    keys = {f"{name[:-4]}.json": b'{"hair": %d}' % (n % 2) for n, name in enumerate(IMAGES)}
    for labels, extra, classes in (("auto", beside, "c"), ("metadata", beside, "c"), ("key:hair", keys, "")):
        listing = listed(tmp_path / labels.replace(":", "_"), kind, BROKEN[broken] | extra, labels)
        assert listing.class_names == [f"{classes}0", f"{classes}1"]


@pytest.mark.parametrize("labels", ["auto", "metadata"])
def test_labels_beside_the_images_come_before_metadata_that_is_no_class(tmp_path: Path, labels: str) -> None:
    beside = {f"{name[:-4]}.cls": b"c%d" % (n % 2) for n, name in enumerate(IMAGES)}
    several = {"labels.csv": b"file_name,label\ncat/cat_0.png,a\ncat/cat_0.png,b\n"}
    assert listed(tmp_path, "tar", beside | several, labels).class_names == ["c0", "c1"]


def test_a_key_reads_no_table_and_a_column_no_file_beside_an_image(tmp_path: Path) -> None:
    keys = {f"{name[:-4]}.json": b'{"hair": "%d"}' % (n % 2) for n, name in enumerate(IMAGES)}
    table = {"metadata.csv": b"file_name,hair\n" + b"".join(b"%s,red%d\n" % (n.encode(), len(n) % 2) for n in IMAGES)}
    unlike = {"labels.csv": b"x,y\n1,2\n"}
    assert listed(tmp_path / "key", "tar", keys | unlike, "key:hair").class_names == ["0", "1"]
    rows = table["metadata.csv"].replace(b"dog/dog_0.png,red1", b"dog/dog_0.png,red0")
    broken = {"cat/cat_0.json": b"{", "cat/cat_1.json": b'{"hair": [1, 2]}', "metadata.csv": rows}
    assert listed(tmp_path / "column", "tar", broken | unlike, "column:hair").class_names == ["red0", "red1"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("broken", SIDECARS)
def test_broken_labels_beside_images(tmp_path: Path, kind: str, broken: str) -> None:
    for labels in UNUSED:
        listed(tmp_path / labels, kind, SIDECARS[broken], labels)
    with pytest.raises(InputError, match=next(iter(SIDECARS[broken]))):
        listed(tmp_path / "auto", kind, SIDECARS[broken], "auto")


FOREIGN = {
    "a table in Latin-1": ("metadata.csv", b"file_name,text\ncat/cat_0.png,caf\xe9\n"),
    "captions in Latin-1": ("metadata.jsonl", b'{"file_name": "cat/cat_0.png", "text": "caf\xe9"}\n'),
    "a file of another program": ("dataset.json", b'{"name": "cats", "files": ['),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_file_that_shows_no_labels_ends_nothing_but_its_own_choice(tmp_path: Path, kind: str, foreign: str) -> None:
    name, data = FOREIGN[foreign]
    listing = listed(tmp_path / "auto", kind, {name: data}, "auto")
    assert listing.class_names == ["cat", "dog"]
    assert f"{name} cannot be read" in listing.labels_note
    assert sum(listing.others.values()) == 1
    with pytest.raises(InputError, match="cannot be read") as caught:
        listed(tmp_path / "metadata", kind, {name: data}, "metadata")
    assert f"{Term.LABELS}=folder" in caught.value.remedy


def test_a_large_file_is_told_by_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.sources.formats.beside.MAX_METADATA_BYTES", 50)
    captions = b'{"file_name": "cat/cat_0.png", "text": "a cat on a mat"}\n'
    listing = listed(tmp_path, "folder", {"metadata.jsonl": captions}, "auto")
    assert listing.class_names == ["cat", "dog"]
    assert "metadata.jsonl is larger than 64 MiB; it names no labels at its beginning" in listing.labels_note
    with pytest.raises(InputError, match=r"metadata\.jsonl: is larger than"):
        listed(tmp_path, "folder", {"metadata.jsonl": captions.replace(b"text", b"label")}, "auto")


def test_a_file_of_labels_that_is_too_large_or_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.sources.formats.beside.MAX_METADATA_BYTES", 10)
    assert listed(tmp_path, "folder", {"labels.csv": b"file_name,label"}, "file_name").class_names == ["cat", "dog"]
    with pytest.raises(InputError, match=r"labels\.csv: is larger than"):
        listed(tmp_path, "folder", {}, "auto")


def array(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def archive(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def idx(*shape: int) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(int(np.prod(shape)))


PIXELS = np.zeros((2, 8, 8), np.uint8)
HAIR = archive(images=PIXELS, hair=np.array([0, 1]))
# Sources with labels that cannot be read, the choices that do not need them, and what the error of auto says.
OTHERS: dict[str, tuple[Make, dict[str, bytes], tuple[str, ...], str]] = {
    "no array": (ArraySource, {"x.npy": array(PIXELS), "x-labels.npy": b"x"}, ("none",), "x-labels.npy"),
    "an array of no images": (
        ArraySource,
        {"x.npy": array(PIXELS), "q-labels.npy": array(np.arange(2))},
        ("none",),
        "labels no images",
    ),
    "an array twice": (
        ArraySource,
        {"x.npy": array(PIXELS), "x-labels.npy": array(np.arange(2)), "x_labels.npy": array(np.arange(2))},
        ("none",),
        "second file",
    ),
    "an array beside a key": (ArraySource, {"a.npz": HAIR, "a-labels.npy": b"x"}, ("none", "key:hair"), "a-labels.npy"),
    "idx without images": (
        IdxSource,
        {"train-images-idx3-ubyte": idx(2, 8, 8), "t10k-labels-idx1-ubyte": idx(2)},
        ("none",),
        "is missing",
    ),
    "idx of another set": (
        IdxSource,
        {"a-images-idx3-ubyte": idx(2, 8, 8), "b-labels-idx1-ubyte": idx(2)},
        ("none",),
        "second set",
    ),
    "idx cut short": (
        IdxSource,
        {"train-images-idx3-ubyte": idx(2, 8, 8), "train-labels-idx1-ubyte.gz": gzip.compress(idx(2))[:-9]},
        ("none",),
        "labels-idx1-ubyte",
    ),
    "names of CIFAR": (
        CifarSource,
        PYTHON | {"batches.meta": pickle.dumps({b"label_names": [1, 1]})},
        ("none",),
        "names",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_labels_of_other_kinds(tmp_path: Path, kind: str) -> None:
    make, contents, choices, says = OTHERS[kind]
    for labels in choices:
        assert found(tmp_path, make, contents, Reading(labels=labels)).count
    with pytest.raises(InputError, match=says):
        found(tmp_path, make, contents, Reading())
