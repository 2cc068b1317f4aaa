"""The fate of each image: its side, what is left out and what is set aside; and it all adds up."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.artifacts import Dataset
from flows.stage import Context
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.digests import Json, sha256
from infra.errors import InputError
from infra.outputs.manifest import Manifest, read_verified
from tests.flows.stages.prepare.rows import prepared_rows
from tests.pictures import encoded, picture

MakeContext = Callable[..., Context]
WHOLE = encoded(picture(0, (64, 64)))
ZOO = {
    "empty": b"",
    "text": b"not an image at all",
    "pcx": encoded(picture(), "PCX"),
    "cut": WHOLE[: len(WHOLE) // 2],
    "huge": WHOLE[:16] + (100_000).to_bytes(4, "big") * 2 + WHOLE[24:],
    "checksum": WHOLE[:60] + b"\xff\xff\xff" + WHOLE[63:],
}


def put(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def good(count: int, folder: str = "") -> dict[str, bytes]:
    return {f"{folder}{number:02d}.png": encoded(picture(number)) for number in range(count)}


def config(root: Path, **more: object) -> PrepareConfig:
    return PrepareConfig(source=str(root), **{"image_size": 8, "holdout": 0.5, "unit_images": 5, **more})


def facts(dataset: Dataset, context: Context) -> Json:
    return dataset.manifest(context.store).facts


class TestSplits:
    def test_by_the_hash_of_the_content(self, tmp_path: Path, make_context: MakeContext) -> None:
        """Recomputed here, for two fractions: an image's side depends on nothing but its bytes."""
        root, context = put(tmp_path / "images", good(20)), make_context()
        for fraction in (0.25, 0.5):
            found = prepared_rows(prepare(config(root, holdout=fraction), context), context)
            for number in range(20):
                share = int(sha256(encoded(picture(number))), 16) / 2**256
                assert found[f"{number:02d}.png"]["split"] == ("test" if share < fraction else "train")

    def test_copies_never_lie_on_both_sides(self, tmp_path: Path, make_context: MakeContext) -> None:
        root, context = put(tmp_path / "images", good(12) | good(12, "copy/") | good(12, "x/y/")), make_context()
        sides: dict[str, set[str]] = {}
        for row in prepared_rows(prepare(config(root), context), context).values():
            sides.setdefault(row["sha256"], set()).add(row["split"])
        assert len(sides) == 12
        assert all(len(splits) == 1 for splits in sides.values())

    def test_an_image_keeps_its_side_when_others_come(self, tmp_path: Path, make_context: MakeContext) -> None:
        root, context = put(tmp_path / "images", good(12)), make_context()
        before = {name: row["split"] for name, row in prepared_rows(prepare(config(root), context), context).items()}
        put(root, {"0.png": encoded(picture(99)), "07b.png": encoded(picture(98))})
        after = {name: row["split"] for name, row in prepared_rows(prepare(config(root), context), context).items()}
        assert before.items() < after.items()

    def test_by_folders_and_what_is_in_neither_is_left_out(self, tmp_path: Path, make_context: MakeContext) -> None:
        parts = {"train/cat/": 4, "train/dog/": 3, "val/dog/": 2, "extra/cow/": 5}
        contents = {name: data for folder, count in parts.items() for name, data in good(count, folder).items()}
        root, context = put(tmp_path / "images", contents | {"loose.png": b"never read"}), make_context()
        dataset = prepare(config(root, holdout=0.9), context)
        assert (dataset.train_images, dataset.test_images) == (7, 2)
        found = prepared_rows(dataset, context)
        assert {name for name, row in found.items() if row["split"] == "test"} == set(good(2, "val/dog/"))
        assert set(found) == {name for name in contents if not name.startswith("extra")}
        said = facts(dataset, context)
        assert (said["read"], said["filtered"]) == (15, {"outside train and test": 6})

    @pytest.mark.parametrize("folders", [("train/", "x/"), ("x/", "test/")])
    def test_one_side_alone_is_refused(self, tmp_path: Path, make_context: MakeContext, folders: list[str]) -> None:
        contents = {name: data for folder in folders for name, data in good(8, folder).items()}
        root, context = put(tmp_path / "images", contents), make_context()
        with pytest.raises(InputError, match=r"puts 8 images into (train|test) and 8 into neither"):
            prepare(config(root), context)


class TestFilters:
    def test_small_images(self, tmp_path: Path, make_context: MakeContext) -> None:
        sizes = {f"{w}x{h}-{seed}.png": (w, h) for w in (8, 15, 16, 40) for h in (15, 16, 17) for seed in range(2)}
        contents = {name: encoded(picture(n, size)) for n, (name, size) in enumerate(sizes.items())}
        root, context = put(tmp_path / "images", contents), make_context()
        dataset = prepare(config(root, min_side=16), context)
        assert set(prepared_rows(dataset, context)) == {name for name, size in sizes.items() if min(size) >= 16}
        assert facts(dataset, context)["filtered"] == {"too small": sum(min(size) < 16 for size in sizes.values())}

    @pytest.mark.parametrize("name", ["lanczos", "bicubic", "bilinear", "box", "nearest"])
    def test_the_filter_is_pillows(self, tmp_path: Path, make_context: MakeContext, name: str) -> None:
        images = {f"{seed}.png": picture(seed, (20, 20)) for seed in range(9)}
        root = put(tmp_path / "images", {key: encoded(image) for key, image in images.items()})
        context = make_context()
        dataset = prepare(config(root, resize_filter=name), context)
        for key, row in prepared_rows(dataset, context).items():
            resized = np.asarray(images[key].resize((8, 8), Image.Resampling[name.upper()]))
            assert row["image"] == resized.transpose(2, 0, 1).tobytes()
        assert name in facts(dataset, context)["fit"]

    def test_of_duplicates_the_first_stays(self, tmp_path: Path, make_context: MakeContext) -> None:
        """In the source's order, over parts and folders; the number of images a file changes no choice."""
        contents = good(10, "b/") | good(6, "c/") | {"a.png": encoded(picture(3)), "d.png": encoded(picture(77))}
        root = put(tmp_path / "images", contents)
        for unit_images in (1, 5, 100):
            context = make_context(tmp_path / f"root-{unit_images}")
            dataset = prepare(config(root, drop_duplicates=True, unit_images=unit_images), context)
            assert set(prepared_rows(dataset, context)) == {"a.png", "d.png", *(set(good(10, "b/")) - {"b/03.png"})}
            assert facts(dataset, context)["filtered"] == {"duplicate": 7}

    def test_duplicates_across_the_splits(self, tmp_path: Path, make_context: MakeContext) -> None:
        """An image of both sides would be tested on after training on it; `test` comes first."""
        contents = good(5, "train/") | good(3, "test/") | good(4, "extra/")
        root, context = put(tmp_path / "images", contents), make_context()
        dataset = prepare(config(root, drop_duplicates=True), context)
        assert set(prepared_rows(dataset, context)) == {"train/03.png", "train/04.png", *good(3, "test/")}
        assert facts(dataset, context)["filtered"] == {"duplicate": 3, "outside train and test": 4}


class TestQuarantine:
    def zoo(self, tmp_path: Path, images: int = 20) -> Path:
        return put(tmp_path / "images", good(images) | {f"bad-{kind}.png": data for kind, data in ZOO.items()})

    def listed(self, manifest: Manifest, context: Context) -> list[Json]:
        return json.loads(read_verified(context.store, manifest.folder, manifest.facts["quarantine"]))

    def test_it_all_adds_up(self, tmp_path: Path, make_context: MakeContext) -> None:
        root, context = self.zoo(tmp_path), make_context()
        put(root, {"small.png": encoded(picture(50, (4, 9))), "copy.png": encoded(picture(5)), "notes.txt": b"hello"})
        rules = {"min_side": 8, "drop_duplicates": True, "on_bad_image": "quarantine", "max_bad_fraction": 0.5}
        dataset = prepare(config(root, **rules), context)
        said = facts(dataset, context)
        assert said["read"] == len(list(root.glob("*.png"))) == 20 + len(ZOO) + 2
        assert said["filtered"] == {"duplicate": 1, "too small": 1}
        assert said["images"] == {"train": dataset.train_images, "test": dataset.test_images}
        assert said["quarantined"] == len(ZOO)
        assert said["read"] == sum(said["images"].values()) + sum(said["filtered"].values()) + said["quarantined"]
        assert said["others"] == {".txt": 1}
        kept = prepared_rows(dataset, context)
        assert set(kept) == set(good(20)), "05.png comes before copy.png"
        assert len(kept) == dataset.train_images + dataset.test_images
        aside = self.listed(dataset.manifest(context.store), context)
        assert {one["name"]: one["sha256"] for one in aside} == {
            f"bad-{kind}.png": sha256(data) for kind, data in ZOO.items()
        }
        assert all(one["reason"] and "0x" not in one["reason"] and str(root) not in one["reason"] for one in aside)

    def test_the_good_ones_are_the_same_as_without(self, tmp_path: Path, make_context: MakeContext) -> None:
        root, context = self.zoo(tmp_path), make_context()
        mixed = prepare(config(root, on_bad_image="quarantine", max_bad_fraction=1), context)
        pure = prepare(config(put(tmp_path / "pure", good(20))), context)
        for name, row in prepared_rows(pure, context).items():
            other = prepared_rows(mixed, context)[name]
            assert {k: other[k] for k in ("image", "split", "sha256")} == {
                k: row[k] for k in ("image", "split", "sha256")
            }

    def test_beyond_the_bound_it_is_refused_with_examples(self, tmp_path: Path, make_context: MakeContext) -> None:
        root, context = self.zoo(tmp_path), make_context()
        share = len(ZOO) / (20 + len(ZOO))
        with pytest.raises(InputError) as caught:
            prepare(config(root, on_bad_image="quarantine", max_bad_fraction=share - 1e-9), context)
        assert caught.value.exit_code == 3
        line = str(caught.value)
        assert "6 of 26 images are bad" in line
        assert all(f"bad-{kind}.png: " in line for kind in sorted(ZOO)[:3])
        assert sum(f"bad-{kind}.png" in line for kind in ZOO) == 3
        assert "max_bad_fraction" in caught.value.remedy
        assert not [name for name in context.store.list("prepare") if "manifests" in name]
        # The bound is no part of the key: what was done counts.
        dataset = prepare(config(root, on_bad_image="quarantine", max_bad_fraction=share), context)
        assert facts(dataset, context)["quarantined"] == len(ZOO)

    @pytest.mark.parametrize("kind", ZOO)
    def test_a_bad_image_ends_it_and_seals_nothing(self, tmp_path: Path, make_context: MakeContext, kind: str) -> None:
        root, context = put(tmp_path / "images", good(12) | {"07b.png": ZOO[kind], "11b.png": b""}), make_context()
        with pytest.raises(InputError) as caught:
            prepare(config(root), context)
        assert (caught.value.item, caught.value.exit_code) == (str(root / "07b.png"), 3)
        assert not [name for name in context.store.list("prepare") if "manifests" in name]

    def test_without_bad_images_nothing_is_aside(self, tmp_path: Path, make_context: MakeContext) -> None:
        root, context = put(tmp_path / "images", good(12)), make_context()
        dataset = prepare(config(root, on_bad_image="quarantine", max_bad_fraction=0), context)
        assert facts(dataset, context)["quarantined"] == 0
        assert self.listed(dataset.manifest(context.store), context) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_figures_are_those_of_the_written_images(tmp_path: Path, make_context: MakeContext, channels: int) -> None:
    contents = good(9, "cat/") | good(7, "dog/") | {"dog/bad.png": b"", "cat/flat.png": encoded(Image.new("L", (9, 9)))}
    root, context = put(tmp_path / "images", contents), make_context()
    rules = {"channels": channels, "on_bad_image": "quarantine", "max_bad_fraction": 0.1}
    dataset = prepare(config(root, **rules), context)
    said, found = facts(dataset, context), prepared_rows(dataset, context)
    pixels = np.stack([np.frombuffer(row["image"], np.uint8).reshape(channels, 8, 8) for row in found.values()])
    assert len(pixels) == 17
    assert said["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert said["std"] == pytest.approx(pixels.std((0, 2, 3)).tolist(), rel=1e-12)
    assert said["histogram"] == [np.bincount(pixels[:, c].ravel(), minlength=256).tolist() for c in range(channels)]
    assert said["levels"] == dataset.levels == len(np.unique(pixels))
    assert said["class_names"] == list(dataset.class_names) == ["cat", "dog"]
    for split in ("train", "test"):
        labels = [row["label"] for row in found.values() if row["split"] == split]
        assert said["classes"][split] == {str(label): labels.count(label) for label in sorted(set(labels))}
    assert all(said["class_names"][row["label"]] == name.split("/")[0] for name, row in found.items())


def test_zero_padded_folders_are_classes(tmp_path: Path, make_context: MakeContext) -> None:
    root = put(tmp_path / "images", {n: d for c in ("00", "01", "10") for n, d in good(6, f"{c}/").items()})
    context = make_context()
    dataset = prepare(config(root), context)
    assert dataset.class_names == ("00", "01", "10")
    labels = {name.split("/")[0]: row["label"] for name, row in prepared_rows(dataset, context).items()}
    assert labels == {"00": 0, "01": 1, "10": 2}
