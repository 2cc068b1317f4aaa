"""The rules that tell the kind of a source, by number, and what they refuse."""

import bz2
import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from infra.sources.files.begun import BegunFileSet
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.image_formats import DECODERS
from infra.sources.recognition import recognition
from infra.sources.recognition.marks import FOREIGN
from infra.sources.recognition.recognition import Recognised, recognise
from infra.storage import s3
from infra.storage.s3_store import S3Store
from tests.infra.sources.formats.archives import END, ZIP, member, zipped
from tests.infra.sources.kinds.test_cifar import archive, parts
from tests.infra.sources.kinds.test_s3_sources import KINDS, npy, parquet, tar
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    return buffer.getvalue()


def old_tar(name: bytes, content: bytes) -> bytes:
    """A tar archive as it was before the mark `ustar`."""
    block = bytearray(member(name, content))
    block[257:265] = bytes(8)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block) + END


def cifar_100(version: str) -> bytes:
    """The archive as published, with its folder."""
    files = parts(100, version).items()
    return gzip.compress(b"".join(member(f"cifar-100-{version}/{name}".encode(), data) for name, data in files) + END)


IDX = KINDS["idx"][1]

# Each kind as its own tests write it, and as people have it.
WRITTEN: dict[str, tuple[str, dict[str, bytes]]] = {
    **{kind: (kind, files) for kind, (_, files) in KINDS.items()},
    "one tar.gz": ("tar", {"photos.tar.gz": gzip.compress(tar())}),
    "tar.bz2": ("tar", {"photos.tar.bz2": bz2.compress(tar())}),
    "tar without ustar": ("tar", {"old": old_tar(b"a.png", b"x")}),
    "npz": ("arrays", {"data.npz": npz()}),
    "Parquet shards beside a text": ("parquet", {f"data/{n}.parquet": parquet() for n in "12"} | {"README.md": b"x"}),
    "idx, gzipped": ("idx", {f"{name}.gz": gzip.compress(data) for name, data in IDX.items()}),
    "idx under other names": ("idx", {name.replace("-idx", ".idx"): data for name, data in IDX.items()}),
    "CIFAR-10, Python": ("cifar", parts(10, "python")),
    "CIFAR-10, packed": ("cifar", {"cifar-10-python.tar.gz": archive(parts(10, "python"))}),
    "CIFAR-10, binary, packed": ("cifar", {"cifar-10-binary.tar.gz": archive(parts(10, "binary"))}),
    "CIFAR-100, Python": ("cifar", parts(100, "python")),
    "CIFAR-100, binary": ("cifar", parts(100, "binary")),
    "CIFAR-100, packed": ("cifar", {"cifar-100-python.tar.gz": cifar_100("python")}),
    "CIFAR-100, binary, packed": ("cifar", {"cifar-100-binary.tar.gz": cifar_100("binary")}),
    "images with their captions": ("folder", {f"{n}.{end}": b"x" for n in range(40) for end in ("jpg", "txt", "json")}),
    # Wrong or no suffixes.
    "a zip called dat": ("zip", {"photos.dat": ZIP}),
    "a tar without a suffix": ("tar", {"download": tar()}),
    "a tar.gz called zip": ("tar", {"photos.zip": gzip.compress(tar())}),
    "a tar called tar.gz": ("tar", {"photos.tar.gz": tar()}),
    "a zip called tar": ("zip", {"photos.tar": ZIP}),
    "an npz called zip": ("arrays", {"data.zip": npz()}),
    "an npy without a suffix": ("arrays", {"data": npy()}),
    "Parquet without a suffix": ("parquet", {"train": parquet()}),
    "capital suffixes": ("zip", {"PHOTOS.ZIP": ZIP}),
    # Where the content says nothing, the name tells, and the source then says what is wrong.
    "an empty zip": ("zip", {"photos.zip": b""}),
    "a zip that was cut short": ("zip", {"photos.zip": ZIP[: len(ZIP) // 2]}),
    "a tar of noise": ("tar", {"photos.tar": b"x" * 2000}),
    # Mixtures (rule 3).
    "pictures beside their archive": ("folder", {f"{n}.png": b"x" * 99 for n in range(20)} | {"all.zip": ZIP}),
    "a preview beside an archive": ("zip", {"preview.png": b"x" * 20, "all.zip": ZIP}),
    "labels beside images": ("folder", {f"{n}.png": b"x" * 999 for n in range(10)} | {"labels.npy": npy()}),
    "weights and a document beside images": (
        "folder",
        {"1.png": b"x", "m.pt": zipped(("archive/data.pkl", b"x" * 999)), "d.docx": zipped(("word/d.xml", b"x" * 99))},
    ),
    "a packed table beside an image": ("folder", {"1.png": b"x", "table.csv.zip": zipped(("table.csv", b"x" * 999))}),
    "a zip that begins with texts": ("zip", {"a.zip": zipped(*((f"{n}.txt", b"") for n in range(99)), ("a.png", b""))}),
    # None of any kind (rule 4).
    "texts": ("folder", {"a.txt": b"x", "b.csv": b"x"}),
    "a pickle that is no CIFAR": ("folder", {"data.pkl": pickle.dumps([1])}),
}  # fmt: skip


def recognised(folder: Path) -> Recognised:
    return recognise(BegunFileSet((str(folder),)))


@pytest.mark.parametrize("name", WRITTEN)
def test_the_kind(tmp_path: Path, name: str) -> None:
    kind, files = WRITTEN[name]
    laid(tmp_path, files)
    assert recognised(tmp_path).kind == kind


@pytest.mark.parametrize("name", [*KINDS, "a zip called dat", "one tar.gz"])
def test_the_same_on_s3(s3_store: S3Store, name: str) -> None:
    kind, files = WRITTEN[name]
    for file, data in files.items():
        s3.put_if_absent(s3_store.bucket, f"{s3_store.prefix}/{name}/{file}", data)
    assert recognise(BegunFileSet((f"{s3_store.uri}/{name}/",))).kind == kind


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"photos.dat": ZIP}, "1 zip archive (photos.dat)"),
        ({"a/1.png": b"x", "a/2.png": b"x"}, "2 image files"),
        ({"a.png": b"x", "b.zip": ZIP}, "1 zip archive (b.zip); beside them, left out: 1 image file (a.png)"),
        ({"a.txt": b"x"}, "no file tells another kind"),
    ],
)
def test_what_is_said(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    laid(tmp_path, files)
    assert recognised(tmp_path).why == why


HEAVY = zipped(("a.png", b"image" * 999))
REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "a zip and a tar": (
        {"a.zip": ZIP, "b.tar": tar()},
        r"mixes kinds of files \(1 zip archive \(a.zip\), 1 tar archive \(b.tar\)\) - "
        "set the kind of source to zip or tar; the others are then left out",
    ),
    "as many images as archives": ({f"{n}.{end}": ZIP for n in range(5) for end in ("png", "zip")}, "to folder or zip"),
    "many small images, heavy archive": (
        {f"{n}.png": b"x" for n in range(20)} | {"all.zip": HEAVY},
        "20 image files, 1 zip archive",
    ),
    "a zip of zips": ({"all.zip": zipped(("a/1.zip", ZIP), ("2.zip", ZIP))}, r"all.zip: .*as a/1.zip - unpack it"),
    "a zip of idx": ({"archive.zip": zipped(*IDX.items())}, "as train-images-idx3-ubyte - unpack it"),
    "a preview beside a zip of zips": ({"a.png": b"x", "all.zip": zipped(("1.zip", ZIP))}, "as 1.zip - unpack"),
} | {
    one.noun: ({"photos": one.starts[0] + bytes(9000)}, f"is {one.noun}, which is not read - {one.remedy}")
    for one in FOREIGN
} | {
    f"{decoder} without a suffix": ({"photos": encoded(picture(0, (32, 32)), decoder)}, "is an image file without a")
    for decoder in DECODERS
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_way_on(tmp_path: Path, name: str) -> None:
    files, line = REFUSED[name]
    laid(tmp_path, files)
    with pytest.raises(InputError, match=line) as caught:
        recognised(tmp_path)
    assert caught.value.remedy
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_bomb_is_unpacked_no_further(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "bomb").write_bytes(pack(bytes(200 << 20)))
    assert recognised(tmp_path).kind in ("folder", "tar")


def test_few_files_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: each read from S3 takes a while."""
    laid(tmp_path, {f"{n:03}.{end}": ZIP for n in range(60) for end in ("dat", "bin", "zip")})
    read: list[str] = []
    plain = FileSet.read

    def counting(self: FileSet, file: File, *args: int) -> bytes:
        read.append(file.name)
        return plain(self, file, *args)

    monkeypatch.setattr(FileSet, "read", counting)
    assert recognised(tmp_path).kind == "zip"
    assert len(read) == 3 * recognition._HEADS_PER_SUFFIX


def test_a_large_source_is_told_by_its_first_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "MOST_FILES", 5)
    laid(tmp_path, {f"{n}.png": b"x" for n in range(7)} | {"z.zip": HEAVY})
    assert recognised(tmp_path) == Recognised("folder", "among the first 5 files 5 image files")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        recognised(tmp_path / "x")
