"""Members' names are shown and give classes; nothing is ever looked for under them."""

import gzip
from pathlib import Path

import pytest

from infra.sources.files.file_set import FileSet
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.source import Entry, Other
from tests.infra.sources.formats.archives import END, GOOD, ZIP, header, listed, member, refused, zipped
from tests.pictures import encoded, picture

pytestmark = pytest.mark.usefixtures("nothing_is_written")


class TestNames:
    @pytest.mark.parametrize(
        ("stored", "shown", "folder"),
        [
            (b"../../etc/a.png", "../../etc/a.png", "etc"),
            (b"/etc/a.png", "/etc/a.png", "etc"),
            (b"//a.png", "//a.png", ""),
            (b"x/../../a.png", "x/../../a.png", "x"),
            (b"train/../cat/a.png", "train/../cat/a.png", "train/cat"),
            (b"~/a.png", "~/a.png", "~"),
            (b"new\nline/a.png", "new\\nline/a.png", "new\\nline"),
            (b"\x1b[31mred/a.png", "\\x1b[31mred/a.png", "\\x1b[31mred"),
            (b"caf\xe9/a.png", "caf\\udce9/a.png", "caf\\udce9"),
            ("\u202egnp.a.png".encode(), "\\u202egnp.a.png", ""),
            (b"back\\slash.png", "back\\\\slash.png", ""),
            (b"C:\\a.png", "C:\\\\a.png", ""),
            (b"$(HOME)/`a`.png", "$(HOME)/`a`.png", "$(HOME)"),
            (b"%2e%2e/a.png", "%2e%2e/a.png", "%2e%2e"),
        ],
    )
    @pytest.mark.parametrize("kind", ["tar", "zip"])
    def test_they_are_only_names(self, tmp_path: Path, stored: bytes, shown: str, folder: str, kind: str) -> None:
        data = member(stored, b"x") + END
        if kind == "zip":
            data = zipped(("N" * len(stored), b"x")).replace(b"N" * len(stored), stored)
        (entry,) = listed(tmp_path / f"a.{kind}", data)
        assert isinstance(entry, Entry)
        assert (entry.name, entry.folder) == (f"a.{kind}!{shown}", folder)
        source = (TarSource if kind == "tar" else ZipSource)(FileSet((str(tmp_path / f"a.{kind}"),)))
        assert list(source.read([entry])) == [b"x"]
        assert Entry.from_json(entry.as_json()) == entry

    @pytest.mark.parametrize("name", [b".a.png", b".x/a.png", b"x/.a.png", b"__MACOSX/a.png", b"x/__MACOSX/._a.png"])
    def test_hidden_ones_are_left_out(self, tmp_path: Path, name: bytes) -> None:
        assert listed(tmp_path / "a.tar", member(name) + END) == []
        assert listed(tmp_path / "a.zip", zipped((name.decode(), b""))) == []

    @pytest.mark.parametrize("name", [b"png", b"a.png.txt", b"a", b"", b"/", b".."])
    def test_without_the_suffix_it_is_no_image(self, tmp_path: Path, name: bytes) -> None:
        assert listed(tmp_path / "a.tar", member(name) + END) == [Other(f"a.tar!{name.decode()}")]

    def test_folders_are_neither(self, tmp_path: Path) -> None:
        data = header(b"a.png/", kind=b"5") + header(b"b.png/", kind=b"\0") + END
        assert listed(tmp_path / "a.tar", data) == []
        assert listed(tmp_path / "a.zip", zipped(("a.png/", b""))) == []


class TestMany:
    @pytest.mark.parametrize("suffix", ["tar", "tgz"])
    def test_a_hundred_thousand_empty_members_of_one_name(self, tmp_path: Path, suffix: str) -> None:
        data = member(b"a.png") * 100_000 + END
        found = listed(tmp_path / f"a.{suffix}", data if suffix == "tar" else gzip.compress(data, 1))
        assert len({entry.name for entry in found}) == 100_000

    def test_more_members_than_any_set_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("infra.sources.formats.members.MAX_MEMBERS", 1)
        for name, data in (("a.tar", GOOD * 2 + END), ("a.zip", ZIP)):
            refused(tmp_path / name, data, "holds more than 1 members - split it")

    def test_archives_in_archives_are_not_opened(self, tmp_path: Path) -> None:
        names = ["b.zip", "c.tar", "d.tar.gz", "e.tgz", "f.png.zip"]
        inner = zipped(("a.png", encoded(picture())))
        found = listed(tmp_path / "a.tar", b"".join(member(n.encode(), inner) for n in names) + END)
        found += listed(tmp_path / "a.zip", zipped(*((n, inner) for n in names)))
        assert found == [Other(f"a.{kind}!{name}") for kind in ("tar", "zip") for name in names]
