"""Two sources that the user named as splits."""

from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, IntegrityError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrays import ArraySource
from infra.sources.kinds.folder import FolderSource
from infra.sources.listing.listing import listed
from infra.sources.pair import Pair
from infra.sources.source import Entry
from tests.infra.sources.placed import placed
from tests.infra.sources.trees import put


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
