"""Globs: what a shell would name, files and folders."""

import os
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from tests.infra.sources.trees import names, put

TREE = (
    "a.tar",
    "b.tar",
    "b.zip",
    "x/a.tar",
    "x/y/b.tar",
    "x/y/c.txt",
    "z-1.tar",
    "z/1.tar",
    "[a].tar",
    "new\nline.tar",
)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.tar", ["[a].tar", "a.tar", "b.tar", "new\nline.tar", "z-1.tar"]),
        ("?.tar", ["a.tar", "b.tar"]),
        ("[ab].tar", ["a.tar", "b.tar"]),
        ("[!a]*.zip", ["b.zip"]),
        ("z?1.tar", ["z-1.tar"]),
        ("*/*.tar", ["x/a.tar", "z/1.tar"]),
        ("x/**", ["x/a.tar", "x/y/b.tar", "x/y/c.txt"]),
        ("**/b.tar", ["b.tar", "x/y/b.tar"]),
        ("**/y/*", ["x/y/b.tar", "x/y/c.txt"]),
        ("x/**/*.t*", ["x/a.tar", "x/y/b.tar", "x/y/c.txt"]),
        ("[a].tar", ["[a].tar"]),
        ("[xz]", ["x/a.tar", "x/y/b.tar", "x/y/c.txt", "z/1.tar"]),
        ("[xz]/", ["x/a.tar", "x/y/b.tar", "x/y/c.txt", "z/1.tar"]),
        ("*/y", ["x/y/b.tar", "x/y/c.txt"]),
        ("**/y", ["x/y/b.tar", "x/y/c.txt"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    """Names are relative to the last folder before the first sign of the glob; a folder stands for all below it."""
    put(tmp_path, *TREE)
    base = "x/" if pattern.startswith("x/") else ""
    assert names(tmp_path / pattern) == [name.removeprefix(base) for name in found]


@pytest.mark.parametrize("name", ["[b-a].tar", "*.png", "*/**/*.zip", "q*/**"])
def test_a_glob_that_matches_nothing(tmp_path: Path, name: str) -> None:
    put(tmp_path, *TREE)
    for sources in ([name], ["*.tar", name]):
        with pytest.raises(InputError, match="matches nothing") as caught:
            list(FileSet(tuple(str(tmp_path / one) for one in sources)).find())
        assert caught.value.item == str(tmp_path / name)


def test_globs_agree_with_the_standard_librarys(tmp_path: Path) -> None:
    put(tmp_path, *TREE, ".hidden.tar", "x/.h/b.tar")
    for pattern in ("*", "x*", "*/*", "**/*.tar", "?*/[!b]*", "*/**/b*", "**/*", "*/y/?.tar"):
        below = {p for found in tmp_path.glob(pattern) for p in (found, *found.rglob("*")) if p.is_file()}
        listed = {p.relative_to(tmp_path).as_posix() for p in below}
        expected = sorted(name for name in listed if not any(part.startswith(".") for part in name.split("/")))
        assert names(tmp_path / pattern) == expected, pattern


class TestCovers:
    @pytest.mark.parametrize(
        ("sources", "file", "covered"),
        [
            (["."], "a.png", True),
            (["."], "runs/x/a.png", True),
            (["."], ".hidden/a.png", False),
            (["x"], "x/a.png", True),
            (["x"], "x/runs/a.png", True),
            (["x"], "xy/a.png", False),
            (["x"], "a.png", False),
            (["x", "y"], "y/runs/a.png", True),
            (["x/a.tar"], "x/runs/a.png", False),
            (["*.png"], "runs/a.png", False),
            (["*.png"], "a.png", True),
            (["*"], "runs/a.png", True),
            (["**/*.png"], "runs/a.png", True),
            (["**/*.tar"], "runs/a.png", False),
            (["x/*"], "runs/a.png", False),
            (["nowhere"], "a.png", False),
        ],
    )
    def test_files(self, tmp_path: Path, sources: list[str], file: str, covered: bool) -> None:
        put(tmp_path, *TREE, "y/a")
        found = FileSet(tuple(os.path.normpath(tmp_path / source) for source in sources))
        assert found.covers(str(tmp_path / file)) is covered

    def test_by_another_way(self, tmp_path: Path) -> None:
        put(tmp_path, "x/a")
        (tmp_path / "link").symlink_to(tmp_path / "x")
        assert FileSet((str(tmp_path / "x"),)).covers(str(tmp_path / "link" / "a.png"))

    @pytest.mark.parametrize(
        ("source", "file", "covered"),
        [
            ("s3://b/x", "s3://b/x/runs/a", True),
            ("s3://b/x", "s3://b/xy/a", False),
            ("s3://b/x", "s3://c/x/runs/a", False),
            ("s3://b/x", "/x/runs/a", False),
            ("s3://b/x/*.tar", "s3://b/x/runs/a", False),
        ],
    )
    def test_on_s3(self, source: str, file: str, covered: bool) -> None:
        assert FileSet((source,)).covers(file) is covered
