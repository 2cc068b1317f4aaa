"""No refusal of the preparation is a dead end: each names a setting, and with that setting it goes on."""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.options import name_options
from flows.stage import Context
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.errors import DdpmError
from tests.infra.sources.formats.archives import END, member, zipped
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture


def image(seed: int, side: int = 8) -> bytes:
    return encoded(picture(seed, (side, side)))


def images(*folders: str, count: int = 6) -> dict[str, bytes]:
    return {
        f"{folder}{n:03d}.png": image(count * number + n) for number, folder in enumerate(folders) for n in range(count)
    }


def array(values: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def table(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def idx() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    return struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes()


@dataclass(frozen=True)
class Case:
    """A source that is refused, and what the refusal says: a part of its line, then a setting that goes on."""

    files: Mapping[str, bytes]
    steps: tuple[tuple[str, Mapping[str, object]], ...]
    given: Mapping[str, object] | None = None


ZIP = zipped(*((f"{n}.png", image(n + 90)) for n in range(6)))
CELLS = [image(n) for n in range(12)]
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
FLOATS = array(np.random.default_rng(0).random((6, 8, 8), dtype=np.float32))
VIEWS = {f"{n:04d}.{side}.png": image(2 * n + (side == "left")) for n in range(6) for side in ("left", "right")}
CASES = {
    "images beside an archive": Case(
        {**images(""), "more.zip": ZIP}, (("set prepare.kind to folder or zip", {"kind": "zip"}),)
    ),
    "another kind": Case(images(""), (("prepare.kind to their format", {"kind": "auto"}),), {"kind": "zip"}),
    "half a split": Case(images("train/", "extra/"), (("prepare.use_splits=false", {"use_splits": False}),)),
    "folders that look like splits": Case(
        images("train_station/", "test_tube/"), (("prepare.use_splits=false", {"use_splits": False}),)
    ),
    "splits below other folders": Case(
        images("a/train/cat/", "b/test/cat/"), (("prepare.use_splits=false", {"use_splits": False}),)
    ),
    "two views": Case(VIEWS, (("prepare.image_key", {"image_key": "left"}),)),
    "two views in an archive": Case(
        {"all.tar": b"".join(member(name.encode(), data) for name, data in VIEWS.items()) + END},
        (("prepare.image_key", {"image_key": "left"}),),
    ),
    "two columns of images": Case(
        {"a.parquet": table(left=CELLS, right=CELLS)}, (("prepare.image_key", {"image_key": "right"}),)
    ),
    "no such column of images": Case(
        {"a.parquet": table(image=CELLS)}, (("prepare.image_key", {"image_key": ""}),), {"image_key": "x"}
    ),
    "large images": Case(images(""), (("raise prepare.max_pixels to 64", {"max_pixels": 64}),), {"max_pixels": 63}),
    "damage": Case(
        {**images(""), "bad.png": image(77)[:60]},
        (
            ("prepare.on_bad_image=quarantine", {"on_bad_image": "quarantine"}),
            ("raise prepare.max_bad_fraction", {"max_bad_fraction": 0.5}),
        ),
    ),
    "floats": Case({"x.npy": FLOATS}, (("prepare.max_value", {"max_value": 1.0}),)),
    "another size": Case(
        images(""), (("prepare.resize_filter", {"resize_filter": "box"}),), {"resize_filter": "none", "image_size": 4}
    ),
    "nothing is large enough": Case(images(""), (("a smaller prepare.min_side", {"min_side": 8}),), {"min_side": 9}),
    "all held out": Case(images(""), (("prepare.holdout=0", {"holdout": 0}),), {"holdout": 6}),
    "no classes in folders": Case(images(""), (("prepare.labels=auto", {"labels": "auto"}),), {"labels": "folder"}),
    "no classes in files": Case(images(""), (("prepare.labels=none", {"labels": "none"}),), {"labels": "metadata"}),
    "no such column of labels": Case(
        {"a.parquet": table(image=CELLS, kind=[0, 1] * 6)},
        (("prepare.labels=column:NAME", {"labels": "column:kind"}),),
        {"labels": "column:x"},
    ),
    "labels of no type": Case(
        {"a.parquet": table(image=CELLS, label=pa.array([b"x"] * 12, pa.binary(1)))},
        (("prepare.labels=none", {"labels": "none", "image_key": "image"}),),
        {"image_key": "image"},
    ),
    "two sets of idx": Case(
        {"one-images-idx3-ubyte": idx(), "two-images-idx3-ubyte": idx()},
        (("set prepare.source to the files of one set", {"source": "one-*"}),),
    ),
    "all of the held-out images have another key": Case(
        {f"a/{n}.image.png": image(n) for n in range(4)} | {f"b/{n}.small.png": image(n + 50) for n in range(4)},
        (("prepare.test_source: holds no image that is taken", {"image_key": "*"}),),
        {"source": "a", "test_source": "b"},
    ),
    "all of the test images have a key": Case(
        images("train/", "train/more/")
        | {f"test/{n}_mask.png": image(n + 50) for n in range(4)}
        | {f"train/{n:03d}_mask.png": image(n + 70) for n in range(6)},
        (("prepare.image_key=*", {"image_key": "*"}),),
    ),
    "all of the train images have another key": Case(
        {f"train/{n}.png": image(n) for n in range(4)} | {f"val/{n}.image.png": image(n + 50) for n in range(4)},
        (("prepare.use_splits=false", {"use_splits": False}),),
        {"image_key": "image"},
    ),
    "held-out images of two kinds": Case(
        images("a/") | {"b/c.zip": ZIP, "b/d.parquet": table(image=[image(n + 50) for n in range(6)])},
        (("Or set prepare.test_source to files of one kind", {"test_source": "b/c.zip"}),),
        {"source": "a", "test_source": "b"},
    ),
    "labels that cannot be read": Case(
        {**images("cat/", "dog/"), "metadata.csv": b"file_name,label\n,1\n"},
        (("prepare.labels=folder", {"labels": "folder"}),),
    ),
    "a label of no image": Case(
        {"a.tar": b"".join(member(f"{n}.png".encode(), image(n)) for n in range(6)) + member(b"x.cls", b"cat") + END},
        (("or set prepare.labels=none", {"labels": "none"}),),
    ),
    "labels of no images": Case(
        {"x.npy": array(PIXELS), "q-labels.npy": array(np.arange(6))},
        (("or set prepare.labels=none", {"labels": "none"}),),
    ),
    "an empty array": Case(
        {"x.npy": array(PIXELS), "z.npy": array(PIXELS[:0])},
        (("set prepare.source to the other files", {"source": "x.npy"}),),
    ),
    "nothing named": Case(images(""), (("--set prepare.source=PATH", {"source": ""}),), {"source": None}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_refusal_names_a_setting_that_goes_on(
    tmp_path: Path, make_context: Callable[..., Context], case: Case
) -> None:
    folder = tmp_path / "data"
    laid(folder, case.files)
    settings: dict[str, Any] = {"image_size": 8, "source": "", **(case.given or {})}

    def config() -> PrepareConfig:
        place = settings["source"]
        held_out = f"{folder}/{settings['test_source']}" if settings.get("test_source") else ""
        source = "" if place is None else f"{folder}/{place}".rstrip("/")
        return PrepareConfig(**{**settings, "source": source, "test_source": held_out})

    for said, setting in case.steps:
        with pytest.raises(DdpmError) as refused:
            prepare(config(), make_context())
        name_options(refused.value)
        assert said in str(refused.value)
        settings |= setting
    assert prepare(config(), make_context()).train_images
