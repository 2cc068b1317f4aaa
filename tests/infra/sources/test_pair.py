"""Two sources that the user named as splits."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, IntegrityError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.files.shared import SharedFiles
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.folder import FolderSource
from infra.sources.listing.listing import listed, part_entries
from infra.sources.pair import Pair
from infra.sources.reading import Reading
from infra.sources.source import Entry
from tests.infra.sources.placed import placed
from tests.infra.sources.trees import laid, put


def pair(train: object, test: object, kind: type = FolderSource) -> Pair:
    files, test_files = FileSet((str(train),)), FileSet((str(test),))
    return Pair(kind(files), kind(test_files), files, test_files)


def found(source: Pair) -> set[tuple[str, str, str]]:
    return {(entry.split, entry.label, entry.name) for entry in placed(source)}


def test_each_is_a_whole_and_classes_are_shared_by_name(tmp_path: Path) -> None:
    """Folders called like splits and folders around everything say nothing; equal names are two images."""
    put(tmp_path / "a", "train/cat/1.png", "val/cat/2.png", "test/dog/1.png")
    put(tmp_path / "b", "new/cat/1.png", "new/dog/1.png")
    assert found(pair(tmp_path / "a", tmp_path / "b")) == {
        ("train", "cat", "train/train/cat/1.png"),
        ("train", "cat", "train/val/cat/2.png"),
        ("train", "dog", "train/test/dog/1.png"),
        ("test", "cat", "test/new/cat/1.png"),
        ("test", "dog", "test/new/dog/1.png"),
    }
    with listed(pair(tmp_path / "a", tmp_path / "b")) as listing:
        assert listing.class_names == ["cat", "dog"]
        assert listing.splits_from == f"{Term.SOURCE} and {Term.TEST_SOURCE}"


def test_the_splits_of_an_array_file_say_nothing_either(tmp_path: Path) -> None:
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(tmp_path / "a.npz", x_train=images[:2], y_train=[3, 4], x_test=images[2:3], y_test=[3])
    np.save(tmp_path / "b.npy", images[3:])
    source = pair(tmp_path / "a.npz", tmp_path / "b.npy", ArraySource)
    entries = [entry for entry in source.find() if isinstance(entry, Entry)]
    assert [entry.split for entry in entries] == ["train"] * 3 + ["test"]
    contents = list(source.read(entries))
    assert contents == [image.tobytes() for image in images]
    for entry, content, image in zip(entries, contents, images, strict=True):
        assert (np.asarray(source.decode(entry, content)) == image).all()


@pytest.mark.parametrize(
    ("train", "test"), [("", "new"), ("**/*.png", "*/new*.png"), ("all/*.png", "new/*.png"), ("new", "new/new1.png")]
)
def test_a_file_that_both_find_is_held_out(tmp_path: Path, train: str, test: str) -> None:
    put(tmp_path, "all/1.png", "all/2.png", "new/new1.png", "new/other.png")
    (tmp_path / "link").symlink_to(tmp_path / "new" / "new1.png")
    entries = [entry for entry in pair(tmp_path / train, tmp_path / test).find() if isinstance(entry, Entry)]
    held_out = {Path(entry.name).name for entry in entries if entry.split == "test"}
    assert held_out >= {"new1.png"}
    assert not held_out & {Path(entry.name).name for entry in entries if entry.split == "train"}


@pytest.mark.parametrize(
    ("train", "test", "item", "cause"),
    [
        ("empty", "a", Term.SOURCE, "holds no images"),
        ("a", "empty", Term.TEST_SOURCE, "holds no images"),
        ("a", "a", Term.SOURCE, "holds no images that the held-out source does not hold"),
        ("a/1.png", "a", Term.SOURCE, "holds no images that the held-out source does not hold"),
    ],
)
def test_neither_is_empty(tmp_path: Path, train: str, test: str, item: str, cause: str) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "empty/notes.txt")
    with pytest.raises(InputError) as caught:
        list(pair(tmp_path / train, tmp_path / test).find())
    assert (caught.value.item, caught.value.cause) == (item, cause)


def test_the_remedy_names_the_held_out_source(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    with pytest.raises(InputError, match="is not there") as caught:
        list(pair(tmp_path / "a", tmp_path / "gone").find())
    assert caught.value.item == f"{tmp_path}/gone"
    assert Term.TEST_SOURCE in caught.value.remedy
    assert Term.SOURCE not in caught.value.remedy.replace(Term.TEST_SOURCE, "")


def test_a_file_that_changed_is_found_out(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    source = pair(tmp_path / "a", tmp_path / "b")
    entries = [entry for entry in source.find() if isinstance(entry, Entry)]
    (tmp_path / "b/1.png").write_bytes(b"another")
    with pytest.raises(IntegrityError, match=r"b/1\.png"):
        list(source.read(entries))


def test_the_digest_covers_both(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    digests = []
    for train, test in (("a", "b"), ("b", "a")):
        with listed(pair(tmp_path / train, tmp_path / test)) as listing:
            digests.append(listing.digest)
    put(tmp_path, "b/2.png")
    with listed(pair(tmp_path / "a", tmp_path / "b")) as listing:
        digests.append(listing.digest)
    assert len(set(digests)) == 3


def links(places: dict[Path, Path]) -> None:
    for place, target in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def splits_of(source: Pair) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"train": set(), "test": set()}
    for entry in source.find():
        if isinstance(entry, Entry):
            found[entry.split].add(entry.name.partition("/")[2])
    return found


def test_files_that_are_links_into_a_store_of_contents_are_held_out(tmp_path: Path) -> None:
    """As in a cache of the Hub, or of git-annex."""
    put(tmp_path / "blob", "0", "1", "2")
    snap = tmp_path / "snap"
    links({snap / "train/a.png": tmp_path / "blob/0", snap / "train/b.png": tmp_path / "blob/1"})
    links({snap / "test/c.png": tmp_path / "blob/2"})
    assert splits_of(pair(snap, snap / "test")) == {"train": {"train/a.png", "train/b.png"}, "test": {"c.png"}}


def test_a_link_to_the_held_out_folder_brings_none_into_training(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    links({tmp_path / "a/link": tmp_path / "b"})
    assert splits_of(pair(tmp_path / "a", tmp_path / "b")) == {"train": {"1.png"}, "test": {"2.png"}}


def test_the_target_of_a_held_out_link_is_held_out(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png")
    links({tmp_path / "b/x.png": tmp_path / "a/1.png"})
    assert splits_of(pair(tmp_path / "a", tmp_path / "b")) == {"train": {"2.png"}, "test": {"x.png"}}


def test_the_main_branch_of_the_hub_is_that_without_a_name() -> None:
    held_out = SharedFiles(FileSet(("hf://datasets/o/n@main/test",)))
    assert "hf://datasets/o/n/test/a.png" in held_out
    assert "hf://datasets/o/n/train/a.png" not in held_out
    assert "hf://datasets/o/n@v2/test/a.png" not in held_out


def test_images_that_another_key_leaves_out_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a/1.image.png", "a/1.mask.png", "b/1.png", "b/2.png")
    files = FileSet((str(tmp_path / "a"),)), FileSet((str(tmp_path / "b"),))
    chosen = Reading(image_key="image")
    with pytest.raises(InputError, match="holds no images of that key, but 2 plain") as caught:
        list(Pair(FolderSource(files[0], chosen), FolderSource(files[1], chosen), *files).find())
    assert caught.value.item == Term.TEST_SOURCE
    assert Term.IMAGE_KEY in caught.value.remedy


class TestMetadata:
    """One file of labels for both splits, in the folder around them, beside them or in each."""

    ROWS = b"file_name,label\ntrain/1.png,cat\ntrain/2.png,dog\ntest/3.png,dog\ntest/4.png,cat\n"

    def classes(self, source: Pair) -> dict[str, str]:
        with listed(source) as listing:
            self.note = listing.labels_note
            entries = [entry for part in listing.parts(9) for entry in part_entries(part)]
        return {entry.name.rpartition("/")[2][0]: entry.label for entry in entries}

    @pytest.mark.parametrize(
        ("train", "test"), [("", "test"), ("*", "test/*.png"), ("[mt]*[nva]*", "link"), ("", "test/[34].png")]
    )
    def test_of_a_held_out_source_inside_the_other(self, tmp_path: Path, train: str, test: str) -> None:
        laid(tmp_path / "set", {"metadata.csv": self.ROWS} | {f"train/{n}.png": b"%d" % n for n in (1, 2)})
        laid(tmp_path / "set", {f"test/{n}.png": b"%d" % n for n in (3, 4)})
        links({tmp_path / "link": tmp_path / "set/test"})
        held_out = tmp_path / (test if test == "link" else f"set/{test}")
        assert self.classes(pair(f"{tmp_path}/set/{train}".rstrip("/"), held_out)) == {
            "1": "cat",
            "2": "dog",
            "3": "dog",
            "4": "cat",
        }
        assert self.note == ""

    def test_rows_of_equal_names_are_of_their_own_folders(self, tmp_path: Path) -> None:
        rows = b"file_name,label\n1.png,cat\n2.png,dog\nnew/1.png,dog\nnew/3.png,cat\n"
        put(tmp_path, "1.png", "2.png", "new/1.png", "new/3.png")
        laid(tmp_path, {"metadata.csv": rows})
        assert {(entry.name, entry.label) for entry in placed(pair(tmp_path, tmp_path / "new"))} == {
            ("train/1.png", "cat"),
            ("train/2.png", "dog"),
            ("test/1.png", "dog"),
            ("test/3.png", "cat"),
        }

    def test_a_file_in_the_held_out_source_itself_comes_first(self, tmp_path: Path) -> None:
        laid(
            tmp_path, {"metadata.csv": self.ROWS[:-28], "test/metadata.csv": self.ROWS[:16] + b"3.png,cat\n4.png,dog\n"}
        )
        put(tmp_path, "train/1.png", "train/2.png", "test/3.png", "test/4.png")
        assert self.classes(pair(tmp_path, tmp_path / "test")) == {"1": "cat", "2": "dog", "3": "cat", "4": "dog"}

    def test_the_place_of_the_held_out_source_is_in_the_digest(self, tmp_path: Path) -> None:
        laid(tmp_path, {"set/metadata.csv": self.ROWS, "set/train/1.png": b"1", "set/train/2.png": b"2"})
        laid(tmp_path, {"set/test/3.png": b"3", "set/test/4.png": b"4"})
        shutil.copytree(tmp_path / "set/test", tmp_path / "other")
        digests = []
        for held_out in ("set/test", "other"):
            with listed(pair(tmp_path / "set/[mt][er][ta]*", tmp_path / held_out)) as listing:
                digests.append((listing.digest, listing.class_names, listing.count))
        assert [of[1:] for of in digests] == [(["cat", "dog"], 4)] * 2
        assert digests[0][0] != digests[1][0]

    @pytest.mark.parametrize(
        ("ends", "name"),
        [("", "metadata.csv"), ("*", "metadata.csv"), ("/*.png", "metadata.csv"), ("", "list_attr_celeba.txt")],
    )
    def test_of_a_file_that_lies_in_neither(self, tmp_path: Path, ends: str, name: str) -> None:
        laid(tmp_path, {name: self.ROWS, "splits.csv": b""})
        put(tmp_path, "train/1.png", "train/2.png", "test/3.png", "test/4.png")
        source = pair(f"{tmp_path}/train{ends}", f"{tmp_path}/test{ends}")
        assert set(self.classes(source).values()) == {""}
        assert self.note.startswith(f"{tmp_path}/{name} is not read")
        assert f"set {Term.SOURCE} to its folder" in self.note

    def test_a_folder_that_nobody_may_list_says_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(tmp_path, "train/1.png", "train/2.png", "test/3.png", "test/4.png")
        iterdir = Path.iterdir

        def refuse(self: Path) -> Iterator[Path]:
            if self == tmp_path:
                raise PermissionError(13, "Permission denied")
            return iter(iterdir(self))

        monkeypatch.setattr(Path, "iterdir", refuse)
        self.classes(pair(tmp_path / "train", tmp_path / "test"))
        assert self.note == ""

    def test_of_a_file_that_names_no_held_out_image(self, tmp_path: Path) -> None:
        laid(tmp_path, {"set/metadata.csv": self.ROWS})
        put(tmp_path, "set/train/1.png", "set/train/2.png", "new/3.png", "new/4.png")
        self.classes(pair(tmp_path / "set", tmp_path / "new"))
        assert self.note.startswith(
            f"held-out images without one: 2, because metadata.csv names no image of {Term.TEST_SOURCE}; "
        )
