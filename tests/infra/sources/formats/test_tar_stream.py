"""The bytes of a tar archive: damage, bombs and cuts are refused wherever they are."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import InputError
from tests.infra.sources.formats.archives import END, GOOD, header, listed, member, refused
from tests.infra.sources.kinds.test_tar import images, packed, source


class TestRefused:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"x" + data[1:],
            lambda data: data[:2] + b"\x09" + data[3:],
            lambda data: data[:40] + b"\xff" * 9 + data[49:],
            lambda data: data[:-8] + b"\0" * 8,
            lambda data: data + b"garbage",
        ],
    )
    def test_damaged_gzip(self, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
        data = gzip.compress(member(b"a.png", bytes(range(256)) * 9) + END)
        refused(tmp_path / "a.tgz", spoil(data), "cannot be read|has no tar header|ends too soon")


class TestBombs:
    @pytest.mark.parametrize("suffix", ["tgz", "tar.bz2"])
    def test_one_that_grows_beyond_measure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        monkeypatch.setattr("infra.sources.formats.tar_stream._BOMB_BYTES", 8 << 20)
        monkeypatch.setattr("infra.sources.formats.tar_stream._BOMB_RATIO", 500)
        pack = gzip.compress if suffix == "tgz" else bz2.compress
        for data in (header(b"a.png", 64 << 20) + bytes(64 << 20), header(b"a.png") + bytes(64 << 20)):
            refused(tmp_path / f"a.{suffix}", pack(data), "is a bomb: over 500 times its size")

    def test_what_is_as_large_without_compression_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("infra.sources.formats.tar_stream._BOMB_BYTES", 1000)
        assert len(listed(tmp_path / "a.tar", GOOD + bytes(1 << 20))) == 1


class TestCut:
    """An archive ends with zeros: without one block of them something is missing."""

    def test_wherever_a_tar_is_cut(self, tmp_path: Path) -> None:
        whole = packed([("a.png", b"a" * 600), ("é" * 90 + ".png", b"b" * 100), ("1.cls", b"7"), ("1.png", b"c")])
        content = len(whole.rstrip(b"\0")) // 512 * 512 + 512
        path = tmp_path / "a.tar"
        path.write_bytes(whole)
        complete = [entry.name for entry in images(source(path))]
        for length in range(0, len(whole), 512):
            path.write_bytes(whole[:length])
            if length <= content:
                with pytest.raises(InputError, match="ends too soon") as caught:
                    list(source(path).find())
                assert str(path) in str(caught.value)
                assert "at byte" in str(caught.value)
            else:
                assert [entry.name for entry in images(source(path))] == complete

    @pytest.mark.parametrize("mode", ["w:gz", "w:bz2"])
    def test_wherever_a_compressed_one_is_cut(self, tmp_path: Path, mode: str) -> None:
        whole = packed([("a.png", bytes(range(256)) * 3), ("b.png", b"b" * 100)], mode)
        path = tmp_path / {"w:gz": "a.tgz", "w:bz2": "a.tar.bz2"}[mode]
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"cannot be read|ends too soon"):
                list(source(path).find())
