"""Globs: what a shell would name, files and folders."""

import os
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.files import FileSet
from tests.oracles.trees import names, put

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
        ("sources", "place", "covered"),
        [
            (["."], "ddpm-runs", True),
            (["."], ".", True),
            (["."], "a/b/runs", True),
            (["."], ".hidden/runs", False),
            (["x"], "x", True),
            (["x"], "x/runs", True),
            (["x"], "xy", False),
            (["x"], ".", False),
            (["x", "y"], "y/runs", True),
            (["x/a.tar"], "x/runs", False),
            (["*.tar"], "runs", False),
            (["*"], "runs", True),
            (["**/*.tar"], "runs", True),
            (["x/*"], "runs", False),
        ],
    )
    def test_places(self, tmp_path: Path, sources: list[str], place: str, covered: bool) -> None:
        put(tmp_path, *TREE, "y/a")
        found = FileSet(tuple(os.path.normpath(tmp_path / source) for source in sources))
        assert found.covers(os.path.normpath(tmp_path / place)) is covered

    def test_by_another_way(self, tmp_path: Path) -> None:
        put(tmp_path, "x/a")
        (tmp_path / "link").symlink_to(tmp_path / "x")
        assert FileSet((str(tmp_path / "x"),)).covers(str(tmp_path / "link" / "runs"))

    @pytest.mark.parametrize(
        ("source", "place", "covered"),
        [
            ("s3://b/x", "s3://b/x/runs", True),
            ("s3://b/x", "s3://b/xy", False),
            ("s3://b/x", "s3://c/x/runs", False),
            ("s3://b/x", "/x/runs", False),
            ("s3://b/x/*.tar", "s3://b/x/runs", False),
        ],
    )
    def test_on_s3(self, source: str, place: str, covered: bool) -> None:
        assert FileSet((source,)).covers(place) is covered
