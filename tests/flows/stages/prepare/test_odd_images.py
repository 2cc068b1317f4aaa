"""Images as people have them: sloppy metadata, several frames, huge scans, cameras of twelve bits."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.artifacts import Dataset
from flows.stage import Context
from flows.stages.prepare.card import render_card
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from flows.stages.prepare.stage import PREPARE
from infra.errors import InputError
from infra.sources.decode import DAMAGED_METADATA, SEVERAL_FRAMES
from tests.infra.sources.test_decode import sloppy
from tests.pictures import encoded, picture

MakeContext = Callable[..., Context]


def config(source: Path, **more: object) -> PrepareConfig:
    return PrepareConfig(source=str(source), **{"image_size": 8, "holdout": 0.5, "unit_images": 5, **more})


def some(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02d}.jpg").write_bytes(encoded(picture(number), "JPEG"))
    return folder


def line(config: PrepareConfig, dataset: Dataset, context: Context) -> str:
    return PREPARE.account(config, dataset, (), context.store).line


def pixels(dataset: Dataset, context: Context) -> dict[str, bytes]:
    manifest = dataset.manifest(context.store)
    root = Path(context.store.uri) / manifest.folder
    tables = [pq.read_table(root / unit["file"]).to_pylist() for unit in manifest.units]
    return {row["name"]: row["image"] for table in tables for row in table}


def test_warnings_are_counted_and_every_image_is_taken(tmp_path: Path, make_context: MakeContext) -> None:
    source, context = some(tmp_path / "photos"), make_context()
    for number in (3, 8):
        path = source / f"{number:02d}.jpg"
        path.write_bytes(sloppy(path.read_bytes()))
    frames = [picture(one) for one in (20, 21)]
    (source / "moving.gif").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    wanted = config(source)
    dataset = prepare(wanted, context)
    assert dataset.train_images + dataset.test_images == 13
    manifest = dataset.manifest(context.store)
    assert manifest.facts["warnings"] == {DAMAGED_METADATA: 2, SEVERAL_FRAMES: 1}
    assert (manifest.facts["read"], manifest.facts["quarantined"]) == (13, 0)
    assert f"; warnings: 2 {DAMAGED_METADATA}, 1 {SEVERAL_FRAMES}; " in line(wanted, dataset, context)
    assert f"with a warning: {SEVERAL_FRAMES}" in render_card(context.store, manifest)


def test_a_source_without_warnings_says_nothing_of_them(tmp_path: Path, make_context: MakeContext) -> None:
    context, wanted = make_context(), config(some(tmp_path / "photos"))
    assert "warning" not in line(wanted, prepare(wanted, context), context)


def test_every_format_side_by_side(tmp_path: Path, make_context: MakeContext) -> None:
    source, context = tmp_path / "mixed", make_context()
    source.mkdir()
    kinds = {"bmp": "BMP", "tif": "TIFF", "gif": "GIF", "jfif": "JPEG", "ppm": "PPM", "png": "PNG", "avif": "AVIF"}
    for number in range(4):
        for suffix, kind in kinds.items():
            (source / f"{number}.{suffix}").write_bytes(encoded(picture(number), kind))
    wanted = config(source)
    dataset = prepare(wanted, context)
    assert dataset.train_images + dataset.test_images == 4 * len(kinds)
    found = pixels(dataset, context)
    for suffix in ("bmp", "tif", "ppm", "png"):
        assert found[f"2.{suffix}"] == np.asarray(picture(2)).transpose(2, 0, 1).tobytes()
    assert "not read" not in line(wanted, dataset, context)


class TestHuge:
    def test_the_error_names_the_setting_that_goes_on(self, tmp_path: Path, make_context: MakeContext) -> None:
        source, context = some(tmp_path / "scans"), make_context()
        Image.new("L", (60, 50)).save(source / "scan.png")
        with pytest.raises(InputError) as caught:
            prepare(config(source, max_pixels=100), context)
        caught.value.remedy.index("the most pixels of an image to 3000")
        caught.value.remedy.index("set bad images aside")
        dataset = prepare(config(source, max_pixels=3000), context)
        assert dataset.train_images + dataset.test_images == 13

    def test_or_it_is_set_aside(self, tmp_path: Path, make_context: MakeContext) -> None:
        source, context = some(tmp_path / "scans"), make_context()
        Image.new("L", (60, 50)).save(source / "scan.png")
        dataset = prepare(config(source, max_pixels=100, on_bad_image="quarantine", max_bad_fraction=0.1), context)
        assert dataset.manifest(context.store).facts["quarantined"] == 1
        card = render_card(context.store, dataset.manifest(context.store))
        assert "has 60x50 pixels, over 100 - raise prepare.max_pixels to 3000" in card
        assert dataset.train_images + dataset.test_images == 12


class TestWhite:
    VALUES = np.random.default_rng(0).integers(0, 4096, (12, 8, 8), dtype=np.uint16)

    def expected(self) -> list[bytes]:
        return [np.rint(image * (255 / 4095)).astype(np.uint8).tobytes() for image in self.VALUES]

    @pytest.mark.parametrize("kind", ["folder", "npy", "npz"])
    def test_a_camera_of_twelve_bits(self, tmp_path: Path, make_context: MakeContext, kind: str) -> None:
        source, context = tmp_path / "camera", make_context()
        source.mkdir()
        if kind == "folder":
            for number, image in enumerate(self.VALUES):
                Image.fromarray(image).save(source / f"{number:02d}.tif")
        elif kind == "npy":
            np.save(source / "x.npy", self.VALUES)
        else:
            np.savez(source / "x.npz", images=self.VALUES)
        more = {"kind": "folder" if kind == "folder" else "arrays", "channels": 1, "max_value": 4095}
        found = pixels(prepare(config(source, **more), context), context)
        assert [found[name] for name in sorted(found)] == self.expected()

    def test_an_idx_file_too(self, tmp_path: Path, make_context: MakeContext) -> None:
        source, context = tmp_path / "idx", make_context()
        source.mkdir()
        images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1).repeat(8, 1).repeat(8, 2)
        header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (source / "images-idx3-ubyte").write_bytes(header + images.tobytes())
        found = pixels(prepare(config(source, channels=1, max_value=11), context), context)
        assert {data[0] for data in found.values()} == {round(value * 255 / 11) for value in range(12)}

    def test_arrays_of_floats(self, tmp_path: Path, make_context: MakeContext) -> None:
        context, source = make_context(), tmp_path / "x.npy"
        np.save(source, self.VALUES / np.float32(4095))
        wanted = config(source, kind="arrays", channels=1)
        with pytest.raises(InputError, match=r"float32, which does not say what is white - set the value of white to"):
            prepare(wanted, context)
        found = pixels(prepare(wanted.model_copy(update={"max_value": 1.0}), context), context)
        assert [found[name] for name in sorted(found)] == self.expected()


def test_masks_are_left_out_and_said(tmp_path: Path, make_context: MakeContext) -> None:
    source, context = tmp_path / "set", make_context()
    for number in range(12):
        for folder, name in (("images", f"{number:02d}.png"), ("masks", f"{number:02d}.png")):
            (source / folder).mkdir(parents=True, exist_ok=True)
            (source / folder / name).write_bytes(encoded(picture(number + 100 * (folder == "masks"))))
    wanted = config(source)
    dataset = prepare(wanted, context)
    assert set(pixels(dataset, context)) == {f"images/{number:02d}.png" for number in range(12)}
    said = "other images of the samples left out (masks: 12); prepare.image_key=masks takes others, * all; "
    assert said in line(wanted, dataset, context)
    assert "images called masks" in render_card(context.store, dataset.manifest(context.store))
    wanted = config(source, image_key="masks")
    assert set(pixels(prepare(wanted, context), context)) == {f"masks/{number:02d}.png" for number in range(12)}


def test_images_that_look_like_masks_are_said(tmp_path: Path, make_context: MakeContext) -> None:
    source, context = tmp_path / "set", make_context()
    for number in range(12):
        for folder in ("cats", "masks"):
            (source / folder).mkdir(parents=True, exist_ok=True)
            (source / folder / f"{number:02d}.png").write_bytes(encoded(picture(number + 100 * (folder == "masks"))))
    wanted = config(source)
    dataset = prepare(wanted, context)
    said = "some images look like masks of others (masks: 12); prepare.image_key=plain leaves them out; "
    assert said in line(wanted, dataset, context)
    assert "images that look like masks of others" in render_card(context.store, dataset.manifest(context.store))
    wanted = config(source, image_key="plain")
    assert set(pixels(prepare(wanted, context), context)) == {f"cats/{number:02d}.png" for number in range(12)}
