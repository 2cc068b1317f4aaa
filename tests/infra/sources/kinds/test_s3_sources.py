"""Every kind of source gives the same from S3 as from a local disk, and notices an object that changed."""

import gzip
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from infra.errors import DdpmError, IntegrityError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.arrow import ArrowSource
from infra.sources.kinds.cifar import CifarSource
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.idx import IdxSource
from infra.sources.kinds.lmdb import LmdbSource
from infra.sources.kinds.mat import MatSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Content, Entry, Source
from infra.storage import s3
from infra.storage.s3_store import S3Store
from tests.pictures import encoded, picture

IMAGES = {
    f"{split}/{name}/{n}.png": encoded(picture(n)) for split in ("test", "train") for name in "ab" for n in (1, 2)
}
LSUN = Path(__file__).parents[1] / "formats" / "lsun.mdb.gz"
PIXELS = np.arange(5 * 8 * 8 * 3, dtype=np.uint8).reshape(5, 8, 8, 3)


def tar() -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in IMAGES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in IMAGES.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = BytesIO()
    np.save(buffer, PIXELS)
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = BytesIO()
    table = pa.table({"image": list(IMAGES.values()), "label": list(range(len(IMAGES)))})
    pq.write_table(table, buffer, row_group_size=3)
    return buffer.getvalue()


def arrow() -> bytes:
    buffer = BytesIO()
    table = pa.table({"image": list(IMAGES.values()), "label": list(range(len(IMAGES)))})
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return buffer.getvalue()


def idx(count: int) -> dict[str, bytes]:
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 4, 4)) + bytes(range(16)) * count
    labels = b"\0\0\x08\x01" + count.to_bytes(4, "big") + bytes(range(count))
    return {"images-idx3-ubyte": images, "labels-idx1-ubyte": labels}


def mat() -> bytes:
    buffer = BytesIO()
    savemat(buffer, {"X": PIXELS.transpose(1, 2, 3, 0), "y": np.arange(len(PIXELS))}, do_compression=True)
    return buffer.getvalue()


def cifar() -> dict[str, bytes]:
    batch = b"".join(bytes([n]) + bytes([n * 7 % 256]) * 3072 for n in range(3))
    names = "\n".join(f"class {n}" for n in range(10)).encode()
    batches = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    return dict.fromkeys(batches, batch) | {"batches.meta.txt": names}


KINDS: dict[str, tuple[Callable[[FileSet], Source], dict[str, bytes]]] = {
    "folder": (FolderSource, IMAGES),
    "tar": (TarSource, {"x/a.tar": tar(), "x/b.tar": tar()}),
    "zip": (ZipSource, {"a.zip": zipped()}),
    "arrays": (ArraySource, {"train.npy": npy(), "test.npy": npy()}),
    "parquet": (ParquetSource, {"train-0.parquet": parquet()}),
    "arrow": (ArrowSource, {"train/data-0.arrow": arrow()}),
    "idx": (IdxSource, {f"{part}-{name}": data for part in ("train", "t10k") for name, data in idx(3).items()}),
    "mat": (MatSource, {"train_8x8.mat": mat()}),
    "lmdb": (LmdbSource, {"a_lmdb/data.mdb": gzip.decompress(LSUN.read_bytes())}),
    "cifar": (CifarSource, cifar()),
}


def laid_out(kind: str, folder: Path, store: S3Store) -> tuple[Source, Source]:
    make, files = KINDS[kind]
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        s3.put_if_absent(store.bucket, f"{store.prefix}/{name}", data)
    return make(FileSet((str(folder),))), make(FileSet((f"{store.uri}/",)))


def everything(source: Source) -> tuple[list[Entry], list[Content]]:
    entries = [found for found in source.find() if isinstance(found, Entry)]
    return entries, list(source.read(entries))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_from_a_disk(kind: str, tmp_path: Path, s3_store: S3Store) -> None:
    local, remote = (everything(source) for source in laid_out(kind, tmp_path, s3_store))
    assert [replace(entry, stamp="") for entry in remote[0]] == [replace(entry, stamp="") for entry in local[0]]
    assert remote[1] == local[1]
    assert len(local[1]) >= 5
    assert all(isinstance(content, bytes) and content for content in local[1])


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_changed(kind: str, tmp_path: Path, moto_store: S3Store) -> None:
    _, source = laid_out(kind, tmp_path, moto_store)
    entries, _ = everything(source)
    for name, data in KINDS[kind][1].items():
        key = f"{moto_store.prefix}/{name}"
        s3.delete(moto_store.bucket, key)
        s3.put_if_absent(moto_store.bucket, key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"s3://.*: changed since it was listed"):
        list(source.read(entries))


def test_an_empty_prefix(moto_store: S3Store) -> None:
    with pytest.raises(DdpmError, match=r"s3://.*/nothing/: holds nothing"):
        list(FolderSource(FileSet((f"{moto_store.uri}/nothing/",))).find())
