"""The user's files: each found once, in one order, and read only as it was found."""

import inspect
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import InputError, IntegrityError, Term
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from tests.infra.sources.trees import names, put

PARTS = st.text("aB.- ~0é日\n", min_size=1, max_size=3).filter(lambda part: not part.startswith("."))
TREES = st.sets(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=12)


def made(root: Path, tree: set[str]) -> set[str]:
    """Make what of a tree can be made: a name cannot be a file and a folder."""
    done = set()
    for name in sorted(tree):
        try:
            put(root, name)
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            continue
        done.add(name)
    return done


@settings(max_examples=40, deadline=None)
@given(tree=TREES)
def test_any_tree_is_found_in_the_order_of_its_names(tree: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made_names = made(Path(folder), tree)
        assert names(folder) == sorted(made_names)


def test_that_order_is_not_the_one_of_its_folders(tmp_path: Path) -> None:
    """'-' and '.' come before '/', so a folder's files do not follow its name."""
    put(tmp_path, "a/x", "a-b", "a.b", "a0/y", "ab")
    assert names(tmp_path) == ["a-b", "a.b", "a/x", "a0/y", "ab"]


def test_size_and_stamp_are_the_files(tmp_path: Path) -> None:
    put(tmp_path, "a", "folder/b")
    os.utime(tmp_path / "a", ns=(5, 123_456_789))
    a, b = FileSet((str(tmp_path),)).find()
    assert a == File(name="a", size=len("content of a"), stamp="123456789")
    assert b.stamp == str((tmp_path / "folder" / "b").stat().st_mtime_ns)


def test_hidden_ones_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a", ".b", ".c/d", "e/.f", "e/.g/h", "e/i", "j.k")
    assert names(tmp_path) == ["a", "e/i", "j.k"]


@pytest.mark.parametrize("name", ["a.tar", "[a].tar", "star*.tar", "what?.tar", "a b.tar", "x/y.tar"])
def test_a_single_file(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, "other.tar", "aa.tar", "starfish.tar", "x/z.tar")
    files = FileSet((str(tmp_path / name),))
    (file,) = files.find()
    assert file.name == Path(name).name
    assert files.read(file) == f"content of {name}".encode()
    assert files.path(file.name) == str(tmp_path / name)


def test_only_folders_that_may_match_are_entered(tmp_path: Path) -> None:
    """Beside the file that is named there may be a whole home folder, with all that is refused elsewhere."""
    put(tmp_path, "a.tar", "deep/b.tar", os.fsdecode(b"caf\xe9"))
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path / "a.tar") == ["a.tar"]
    assert names(tmp_path / "*.tar") == ["a.tar"]
    assert names(tmp_path / "[d]eep" / "*.tar") == ["deep/b.tar"]


class TestSeveral:
    def test_names_begin_with_their_folders(self, tmp_path: Path) -> None:
        put(tmp_path, "one/a", "one/b/c", "two/a")
        files = FileSet((str(tmp_path / "two"), str(tmp_path / "one")))
        found = list(files.find())
        assert [file.name for file in found] == ["two/a", "one/a", "one/b/c"], "the order is the one given"
        assert [files.read(file) for file in found] == [f"content of {file.name}".encode() for file in found]

    def test_of_one_folder_each_file_is_found_once(self, tmp_path: Path) -> None:
        put(tmp_path, "a.tar", "b.tar", "c.tar")
        assert names(tmp_path / "b.tar", tmp_path / "a.tar") == ["a.tar", "b.tar"]
        assert names(tmp_path / "*.tar", tmp_path / "a.tar") == ["a.tar", "b.tar", "c.tar"]
        assert names(tmp_path, tmp_path, f"{tmp_path}/") == ["a.tar", "b.tar", "c.tar"]

    def test_folders_of_one_name_are_refused(self, tmp_path: Path) -> None:
        put(tmp_path, "x/same/a", "y/same/a")
        with pytest.raises(InputError, match="is called like, another source"):
            names(tmp_path / "x" / "same", tmp_path / "y" / "same")

    def test_one_that_is_missing_is_named_before_any_file(self, tmp_path: Path) -> None:
        put(tmp_path, "one/a")
        with pytest.raises(InputError, match="is not there") as caught:
            next(FileSet((str(tmp_path / "one"), str(tmp_path / "gone"))).find())
        assert caught.value.item == str(tmp_path / "gone")


class TestRefused:
    @pytest.mark.parametrize("name", ["gone", "gone/a.png", "file/below", "gone/*.png", "link"])
    def test_what_is_not_there(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, "file")
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(InputError, match="is not there") as caught:
            names(tmp_path / name)
        assert (caught.value.item, caught.value.exit_code) == (str(tmp_path / name), 3)
        assert Term.SOURCE in caught.value.remedy

    def test_a_path_that_is_none(self) -> None:
        with pytest.raises(InputError, match="is not there"):
            names("/tmp/a\0b")

    def test_a_linked_file_is_served(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        (tmp_path / "b").symlink_to("a")
        files = FileSet((str(tmp_path),))
        assert [files.read(file) for file in files.find()] == [b"content of a"] * 2

    def test_a_link_to_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "b").symlink_to("gone")
        with pytest.raises(InputError, match=r"/b: is a link to nothing \(No such file.* - remove it"):
            names(tmp_path)

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        (tmp_path / "b").symlink_to("b")
        with pytest.raises(InputError, match=r"/b: is a link to nothing \(Too many levels"):
            names(tmp_path)

    @pytest.mark.parametrize("kind", ["pipe", "socket"])
    def test_what_is_no_file(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("b") if kind == "socket" else os.mkfifo("b")
            with pytest.raises(InputError, match="is not a file") as caught:
                names(tmp_path)
        assert caught.value.item == str(tmp_path / "b")

    @pytest.mark.parametrize("name", [b"caf\xe9.png", b"caf\xe9/a.png"])
    def test_a_name_that_is_no_unicode(self, tmp_path: Path, name: bytes) -> None:
        put(tmp_path, os.fsdecode(name))
        with pytest.raises(InputError, match="not UTF-8") as caught:
            names(tmp_path)
        assert "caf" in caught.value.item
        str(caught.value).encode()

    def test_a_folder_that_cannot_be_listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As root nothing is forbidden, so the system's refusal is played."""
        put(tmp_path, "a", "locked/b")
        scandir = os.scandir

        def guarded(path: str) -> object:
            if path.endswith("locked/"):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)") as caught:
            names(tmp_path)
        assert caught.value.item == f"{tmp_path}/locked/"


class TestLinkedFolders:
    def test_they_are_followed_under_their_own_names(self, tmp_path: Path) -> None:
        put(tmp_path, "real/cats/1", "real/dogs/2", "real/.hidden/3", "set/a", "set/z")
        for name, target in (("katzen", "cats"), ("hunde", "dogs"), ("again", "cats")):
            (tmp_path / "set" / name).symlink_to(tmp_path / "real" / target)
        assert names(tmp_path / "set") == ["a", "again/1", "hunde/2", "katzen/1", "z"]
        files = FileSet((str(tmp_path / "set"),))
        assert [files.read(file)[-1:] for file in files.find()] == [b"a", b"1", b"2", b"1", b"z"]
        (tmp_path / "top").symlink_to("set")
        assert names(tmp_path / "top") == names(tmp_path / "set"), "the source itself may be a link"

    def test_links_in_links(self, tmp_path: Path) -> None:
        put(tmp_path, "c/x")
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "to_c").symlink_to("../c")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "to_b").symlink_to("../b")
        assert names(tmp_path / "a") == ["to_b/to_c/x"]

    @pytest.mark.parametrize(
        ("link", "target"),
        [("a/self", "."), ("a/up", ".."), ("a/far", "/"), ("b/c/top", "../../b"), ("a/to_b", "../b")],
    )
    def test_a_circle_is_named(self, tmp_path: Path, link: str, target: str) -> None:
        put(tmp_path, "a/x", "b/c/y")
        (tmp_path / "b" / "back").symlink_to("../a")
        (tmp_path / link).symlink_to(target)
        with pytest.raises(InputError, match=r"is a link to a folder around it \(/.* - remove it, or set") as caught:
            names(tmp_path / link.split("/", maxsplit=1)[0])
        assert caught.value.item.endswith(("/back", f"/{link}")), caught.value.item

    def test_none_leads_to_our_outputs(self, tmp_path: Path) -> None:
        put(tmp_path, "images/1", "runs/reports/x/samples.png", "other/2")
        outputs = (str(tmp_path / "runs" / "reports" / "x" / "samples.png"),)
        (tmp_path / "images" / "more").symlink_to("../other")
        files = FileSet((str(tmp_path / "images"),), apart=outputs)
        assert [file.name for file in files.find()] == ["1", "more/2"]
        (tmp_path / "images" / "old").symlink_to("../runs")
        with pytest.raises(InputError, match="is a link to the program's own outputs") as caught:
            list(files.find())
        assert caught.value.item == str(tmp_path / "images" / "old")


class TestReading:
    def test_all_or_some_bytes(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        files = FileSet((str(tmp_path),))
        (file,) = files.find()
        assert files.read(file) == b"content of a"
        assert files.read(file, start=3) == b"tent of a"
        assert files.read(file, start=3, length=4) == b"tent"

    def test_what_cannot_be_read_stands_in_its_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(tmp_path, "a", "b", "c")
        files = FileSet((str(tmp_path),))
        found = list(files.find())
        monkeypatch.setattr("infra.sources.files.file_set.MAX_BYTES", found[1].size)
        huge = File(name="b", size=found[1].size + 1, stamp=found[1].stamp)
        a, b, c = files.read_all([found[0], huge, found[2]])
        assert (a, c) == (b"content of a", b"content of c")
        assert isinstance(b, InputError)
        assert (b.item, b.exit_code) == (str(tmp_path / "b"), 3)

    def test_the_byte_limit_holds_before_anything_is_read(self, tmp_path: Path) -> None:
        with (tmp_path / "huge").open("wb") as file:
            file.truncate((256 << 20) + 1)
        files = FileSet((str(tmp_path),))
        (found,) = files.find()
        with pytest.raises(InputError, match="larger than 256 MiB"):
            files.read(found)

    @pytest.mark.parametrize(
        "change",
        [
            lambda path: (t := path.stat().st_mtime_ns, path.write_bytes(b"short"), os.utime(path, ns=(0, t))),
            lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
            lambda path: path.unlink(),
            lambda path: (path.unlink(), path.mkdir()),
        ],
        ids=["size", "time", "gone", "a folder now"],
    )
    @pytest.mark.parametrize("how", [FileSet.read, FileSet.open, lambda files, file: list(files.read_all([file]))])
    def test_changed_since_it_was_found(
        self, tmp_path: Path, change: Callable[[Path], object], how: Callable[[FileSet, File], object]
    ) -> None:
        put(tmp_path, "a")
        files = FileSet((str(tmp_path),))
        (file,) = files.find()
        change(tmp_path / "a")
        with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
            how(files, file)
        assert (caught.value.item, caught.value.exit_code) == (str(tmp_path / "a"), 6)

    def test_what_was_found_can_be_read_elsewhere(self, tmp_path: Path) -> None:
        """Workers get the set after it was used."""
        put(tmp_path, "a")
        files = FileSet((str(tmp_path / "*"),))
        (file,) = files.find()
        sent = pickle.loads(pickle.dumps(files))
        assert sent == files
        assert sent.read(file) == b"content of a"


def test_files_are_found_one_by_one(tmp_path: Path) -> None:
    """A folder is listed when its turn comes, not before: memory is for one folder's names."""
    put(tmp_path, "a/1", "b/1")
    found = FileSet((str(tmp_path),)).find()
    assert isinstance(found, Iterator)
    assert inspect.isgenerator(found)
    assert next(found).name == "a/1"
    put(tmp_path, "b/2")
    assert [file.name for file in found] == ["b/1", "b/2"]
