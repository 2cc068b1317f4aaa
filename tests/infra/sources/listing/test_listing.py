"""The listing of a source: every entry once, digested, and its classes numbered."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.errors import InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.listing import refusals
from infra.sources.listing.listing import listed, part_entries
from infra.sources.reading import Reading
from infra.sources.source import Content, Entry, Other, Source
from tests.pictures import encoded, picture


@dataclass(frozen=True)
class Given(Source):
    """A source that finds what it is given."""

    found: Sequence[Entry | Other]

    def find(self) -> Iterator[Entry | Other]:
        yield from self.found

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        raise AssertionError("a listing reads nothing")


ENTRY = Entry(name="a", file="f", size=3, stamp="s", at=(1,), split="train", label="cat")
AWKWARD = [
    Entry(name=name, stamp="s")
    for name in ("new\nline", "back\\slash", "\u2028", "\x85", "\r", "日本", "", "\x00", '"', "\x1e", "\x0b")
]


def digest(*found: Entry | Other) -> str:
    with listed(Given(found)) as listing:
        return listing.digest


def class_names(*labels: str) -> list[str]:
    with listed(Given([replace(ENTRY, name=str(n), label=label) for n, label in enumerate(labels)])) as listing:
        return listing.class_names


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"file": "g"},
        {"size": 4},
        {"stamp": "t"},
        {"at": (2,)},
        {"at": ()},
        {"folder": "x"},
        {"split": ""},
        {"label": "x"},
    ],
    ids=str,
)
def test_every_field_is_in_the_digest(change: dict[str, object]) -> None:
    assert digest(replace(ENTRY, **change)) != digest(ENTRY)
    assert digest(replace(ENTRY)) == digest(ENTRY)


def test_order_and_number_are_in_the_digest_and_others_are_not() -> None:
    other = replace(ENTRY, name="b")
    assert len({digest(ENTRY), digest(ENTRY, other), digest(other, ENTRY), digest(ENTRY, ENTRY)}) == 4
    assert digest(Other("x.txt"), ENTRY, Other("y")) == digest(ENTRY)


def test_the_digest_is_of_lines_of_json() -> None:
    """Derived a second time, so that a stored key does not change unseen."""
    lines = ['["a","f",3,"s",[1],"train","cat",""]', '["日本","",0,"s",[],"test","","x/y"]']
    expected = hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()
    assert digest(ENTRY, Entry(name="日本", stamp="s", split="test", folder="x/y")) == expected


@pytest.mark.parametrize("length", [1, 2, 3, 4, 11, 100])
def test_parts_make_up_all_entries(length: int) -> None:
    with listed(Given(AWKWARD)) as listing:
        assert listing.count == len(AWKWARD)
        parts = list(listing.parts(length))
        assert list(listing.parts(length)) == parts, "they can be had again"
        assert hashlib.sha256(b"".join(parts)).hexdigest() == listing.digest
    sizes = [len(part_entries(part)) for part in parts]
    assert sizes[:-1] == [length] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= length
    assert [entry for part in parts for entry in part_entries(part)] == AWKWARD


def test_counts() -> None:
    found = [replace(ENTRY, split=split) for split in ("train", "train", "test", "", "", "")]
    others = [Other("a.txt"), Other("b.TXT"), Other("x/c.gif"), Other("LICENSE"), Other("d.tar.gz")]
    with listed(Given([*found, *others])) as listing:
        assert listing.count == 6
        assert listing.splits == {"train": 2, "test": 1, "": 3}
        assert listing.others == {"": 1, ".gif": 1, ".gz": 1, ".txt": 2}


class TestFolders:
    def make(self, root: Path) -> Path:
        for number, name in enumerate(("b/1.png", "a/2.png", "a.png")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(encoded(picture(number)))
        return root

    def digest(self, root: Path) -> str:
        with listed(FolderSource(FileSet((str(root),)))) as listing:
            return listing.digest

    def test_a_copy_with_its_times_or_a_moved_folder_is_the_same(self, tmp_path: Path) -> None:
        one = self.make(tmp_path / "one")
        before = self.digest(one)
        shutil.copytree(one, tmp_path / "deep" / "copy")
        assert self.digest(tmp_path / "deep" / "copy") == before
        one.rename(tmp_path / "moved")
        assert self.digest(tmp_path / "moved") == before

    @pytest.mark.parametrize("change", ["time", "size", "name", "one more", "one less"])
    def test_a_changed_folder_is_not(self, tmp_path: Path, change: str) -> None:
        root = self.make(tmp_path / "one")
        before = self.digest(root)
        image, status = root / "a.png", (root / "a.png").stat()
        if change == "time":
            os.utime(image, ns=(0, status.st_mtime_ns + 1))
        elif change == "size":
            image.write_bytes(image.read_bytes() + b"x")
            os.utime(image, ns=(0, status.st_mtime_ns))
        elif change == "name":
            image.rename(root / "c.png")
        elif change == "one more":
            shutil.copy2(image, root / "c.png")
        else:
            image.unlink()
        assert self.digest(root) != before


class TestClasses:
    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (("dog", "cat", "cat"), ["cat", "dog"]),
            (("b", "B", "é", "a b"), ["B", "a b", "b", "é"]),
            (("10", "2", "0"), ["0", "2", "10"]),
            (("3", "1"), ["1", "3"]),
            (("10", "2", "x"), ["10", "2", "x"]),
            (("01", "00", "10"), ["00", "01", "10"]),
            (("01", "1"), ["01", "1"]),
            (("-1", "1"), ["-1", "1"]),
            (("-1", "1", "0"), []),
            (("-7", "-1"), []),
            (("-7", "3", "4"), []),
            (("٣", "1"), ["1", "٣"]),
            (("1", "100000"), ["1", "100000"]),
            (("7", "99999"), ["7", "99999"]),
            (("999", "7"), ["7", "999"]),
            (("1", "9" * 5000), ["1", "9" * 5000]),
            (("cat", "cat"), []),
            (("7", "7"), []),
            (("cat", "", "dog"), []),
            (("", ""), []),
        ],
        ids=str,
    )
    def test_names(self, labels: tuple[str, ...], expected: list[str]) -> None:
        """Whole numbers keep their names, in the order of their values; anything else is sorted by characters."""
        assert class_names(*labels) == expected

    @pytest.mark.parametrize("labels", [("01", "00", "10"), ("5", "0"), ("b", "a"), ("0", "00")])
    def test_every_label_is_the_name_of_a_class(self, labels: tuple[str, ...]) -> None:
        assert set(labels) <= set(class_names(*labels))

    def test_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refusals, "MAX_CLASSES", 3)
        assert class_names("a", "b", "c", "a") == ["a", "b", "c"]
        with pytest.raises(InputError, match="more than 3 classes") as caught:
            class_names("a", "b", "c", "d")
        assert (caught.value.item, caught.value.exit_code) == (Term.SOURCE, 3)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ((), "holds no images - "),
        (("a.gif", "b.GIF", "x/LICENSE"), "holds no images (left out: 2 .gif, 1 without a suffix) - "),
        (tuple(f"{n}.{s}" for s in "abcdefg" for n in range(9 - ord(s) % 8)), "left out: 8 ."),
    ],
)
def test_no_images(others: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError) as caught, listed(Given([Other(name) for name in others])):
        pass
    assert says in str(caught.value)
    assert caught.value.exit_code == 3
    assert Term.SOURCE_KIND in caught.value.remedy
    assert str(caught.value).count(".") < 10, "the most frequent ones, not all"


def test_entries_are_not_kept_in_memory() -> None:
    """Each is written as it is found: nothing but counts stays."""
    with listed(Given(AWKWARD)) as listing:
        kept = {name: value for name, value in vars(listing).items() if name != "_spool"}
    assert "日本" not in repr(kept)


def test_one_without_a_class_outside_the_splits_does_not_count() -> None:
    found = [Entry(name=f"{split}{label}", split=split, label=label) for split in ("train", "test") for label in "ab"]
    with listed(Given([*found, Entry(name="preview")])) as listing:
        assert (listing.class_names, listing.unlabelled) == (["a", "b"], 0)
    with listed(Given([*found, Entry(name="more", split="train")])) as listing:
        assert (listing.class_names, listing.unlabelled) == ([], 1)


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_split_beside_images_of_none_is_refused(split: str) -> None:
    found = [Entry(name="a", split=split), Entry(name="b", split=split), Entry(name="c")]
    with (
        pytest.raises(InputError, match=f"puts 2 images into {split} and 1 into neither") as caught,
        listed(Given(found)),
    ):
        pass
    assert caught.value.exit_code == 3


def test_one_split_alone_is_no_split() -> None:
    with listed(Given([Entry(name=name, split="train") for name in "abc"])) as listing:
        assert not listing.splits_given


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (("a/train/cat", "b/test/cat"), "folders called like train and test below others"),
        (("images/train", "masks/val2017"), "folders called like train and test below others"),
        (("train_hall/a", "test_tube/a"), "has folders called train_hall and test_tube, which give no split"),
    ],
)
def test_splits_that_are_not_told_apart_are_refused(places: tuple[str, ...], says: str) -> None:
    found = [Entry(name=f"{n}", folder=place) for n, place in enumerate(places)]
    with pytest.raises(InputError, match=says), listed(Given(found)):
        pass


def test_labels_of_the_sources_own_hide_no_splits() -> None:
    with listed(Given([Entry(name=label, label=label) for label in ("vehicles/train", "medicine/test")])) as listing:
        assert listing.class_names == ["medicine/test", "vehicles/train"]


def test_what_settles_late_is_in_every_part() -> None:
    """Validation images are held out, since test images lack the classes."""
    places = ("train/a", "train/b", "val/a", "val/b", "test", "test")
    with listed(Given([Entry(name=f"{n}", folder=place) for n, place in enumerate(places)])) as listing:
        stored = [(e.split, e.label) for part in listing.parts(4) for e in part_entries(part)]
        assert stored == [("train", "a"), ("train", "b"), ("test", "a"), ("test", "b"), ("", ""), ("", "")]
        assert (listing.class_names, listing.unlabelled) == (["a", "b"], 0)
        assert listing.splits == {"train": 2, "test": 2, "": 2}


def test_names_that_users_give_are_counted_in_bounds() -> None:
    """As keys of images left out, and as suffixes of other files."""
    keys = [Other(f"{n}", key=f"key{n}") for n in range(3000)]
    files = [Other("b." + "x" * 17), Other("readme"), *(Other(f"a.{n}") for n in range(3000))]
    with listed(Given([Entry(name="a"), *keys, *keys[:5], *files])) as listing:
        assert (len(listing.left_out), sum(listing.left_out.values())) == (13, 3005)
        assert (len(listing.others), sum(listing.others.values())) == (13, 3002)
        assert {f"key{n}" for n in range(5)} < set(listing.left_out)
        assert listing.others[""] == 2


def test_any_number_of_folders_below_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.sources.listing.listing.MAX_CLASSES", 3)
    found = [Entry(name=f"{name}{n}", folder=f"{name}/{n}") for name in ("cat", "dog") for n in range(9)]
    with listed(Given(found)) as listing:
        assert listing.class_names == ["cat", "dog"]
        placed = [entry for part in listing.parts(100) for entry in part_entries(part)]
        assert [entry.label for entry in placed] == ["cat"] * 9 + ["dog"] * 9
    whole = Reading(label_depth=0)
    with pytest.raises(InputError, match="classes"), listed(Given(found), whole):
        pass
