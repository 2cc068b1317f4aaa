"""Small copies of the data sets that are published as image files, in folders or packed."""

import gzip
import json
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.flows.stages.prepare.layouts.bytes import jpeg, png, put, tarred, zipped

LSUN = Path(__file__).parents[4] / "infra" / "sources" / "formats" / "lsun.mdb.gz"


def imagenet(top: Path) -> None:
    """An archive of an archive per class."""
    archives = {
        f"{name}.tar": tarred({f"{name}_{n}.JPEG": jpeg(n) for n in range(start, start + 6)})
        for name, start in (("n01440764", 0), ("n01443537", 10))
    }
    put(top, {"ILSVRC2012_img_train.tar": tarred(archives)})


def imagenette(top: Path) -> None:
    files = {
        f"imagenette2-160/{split}/{name}/{name}_{n}.JPEG": jpeg(n)
        for split, start in (("train", 0), ("val", 40))
        for name, first in (("n01440764", start), ("n02102040", start + 20))
        for n in range(first, first + 5)
    }
    put(top, {"imagenette2-160.tgz": tarred({**files, "imagenette2-160/noisy_imagenette.csv": b"path\n"}, "w:gz")})


def ffhq(top: Path) -> None:
    for n in range(12):
        put(top, {f"thumbnails128x128/{n // 4 * 1000:05d}/{n // 4 * 1000 + n % 4:05d}.png": png(n)})
    put(top, {"thumbnails128x128/LICENSE.txt": b"CC"})


def lsun(top: Path) -> None:
    put(top, {"church_outdoor_train_lmdb/data.mdb": gzip.decompress(LSUN.read_bytes())})
    put(top, {"church_outdoor_train_lmdb/lock.mdb": bytes(8192)})


def intel(top: Path) -> None:
    for split, start in (("seg_train", 0), ("seg_test", 40)):
        for place, name in enumerate(("buildings", "forest")):
            for n in range(start + 10 * place, start + 10 * place + 5):
                put(top, {f"{split}/{split}/{name}/{n}.jpg": jpeg(n)})
    put(top, {f"seg_pred/seg_pred/{n}.jpg": jpeg(n) for n in range(80, 84)})


def pets(top: Path) -> None:
    files = {
        f"images/{name}_{n}.jpg": jpeg(n + 9 * (name > "B")) for name in ("Abyssinian", "beagle") for n in range(6)
    }
    put(top, {"images.tar.gz": tarred({**files, "images/Abyssinian_101.mat": b"MATLAB"}, "w:gz")})


def cats_and_dogs(top: Path) -> None:
    """The published archive has a few empty files."""
    files = {f"PetImages/{name}/{n}.jpg": jpeg(n + 99 * (name > "D")) for name in ("Cat", "Dog") for n in range(60)}
    files |= {"PetImages/Cat/666.jpg": b"", "PetImages/Cat/Thumbs.db": b"x", "readme[1].txt": b"x"}
    put(top, {"kagglecatsanddogs_5340.zip": zipped(files)})


def afhq(top: Path) -> None:
    put(
        top,
        {
            "afhq_v2.zip": zipped(
                {
                    f"{split}/{name}/flickr_{name}_{n:06d}.png": png(n + start + 10 * place)
                    for split, start in (("train", 0), ("test", 40))
                    for place, name in enumerate(("cat", "dog", "wild"))
                    for n in range(4)
                }
            )
        },
    )


def coco(top: Path) -> None:
    for split, start in (("train2017", 0), ("val2017", 40)):
        put(top, {f"coco/{split}.zip": zipped({f"{split}/{n:012d}.jpg": jpeg(n) for n in range(start, start + 6)})})


def eurosat(top: Path) -> None:
    files = {
        f"2750/{name}/{name}_{n}.jpg": jpeg(n + 20 * place)
        for place, name in enumerate(("AnnualCrop", "Forest"))
        for n in range(6)
    }
    put(top, {"EuroSAT.zip": zipped(files)})


def _table(start: int) -> pa.Table:
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": jpeg(n), "path": f"{n}.jpg"} for n in range(start, start + 6)], type=struct)
    feature = {"names": ["apple_pie", "baby_back_ribs"], "_type": "ClassLabel"}
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    table = pa.table({"image": images, "label": pa.array([n % 2 for n in range(6)], pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps(about)})


def food_101(top: Path) -> None:
    for split, start in (("train", 0), ("validation", 40)):
        buffer = BytesIO()
        pq.write_table(_table(start), buffer)
        put(top, {f"food101/data/{split}-00000-of-00001.parquet": buffer.getvalue()})
    put(top, {"food101/README.md": b"# Food-101"})


def saved_to_disk(top: Path) -> None:
    for split, start in (("train", 0), ("test", 40)):
        buffer, table = BytesIO(), _table(start)
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
        put(top, {f"saved/{split}/data-00000-of-00001.arrow": buffer.getvalue()})
        put(top, {f"saved/{split}/{name}.json": b"{}" for name in ("dataset_info", "state")})
    put(top, {"saved/dataset_dict.json": b'{"splits": ["train", "test"]}'})
