"""A name appears at once and whole, or not at all, and nothing else is left beside it."""

from pathlib import Path

import pytest

from infra.storage.aside import replaced, spare, write_synced


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "target"
    with replaced(target) as place:
        write_synced(place, b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with replaced(target) as place:
        place.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def test_a_folder_appears_with_its_files(tmp_path: Path) -> None:
    with replaced(tmp_path / "target") as place:
        place.mkdir()
        write_synced(place / "one", b"1")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "one"]


@pytest.mark.parametrize("as_folder", [False, True])
def test_what_fails_leaves_all_as_it_was(tmp_path: Path, as_folder: bool) -> None:
    (tmp_path / "target").write_bytes(b"old")

    def write_half() -> None:
        with replaced(tmp_path / "target") as place:
            file = place / "one" if as_folder else place
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in tmp_path.rglob("*")] == ["target"]
    assert (tmp_path / "target").read_bytes() == b"old"


def test_two_writers_have_places_of_their_own(tmp_path: Path) -> None:
    with replaced(tmp_path / "target") as one, replaced(tmp_path / "target") as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert (tmp_path / "target").read_bytes() == b"one", "the last to leave"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "target"):
        pass


def test_a_spare_name_is_free_again_afterwards(tmp_path: Path) -> None:
    with spare(tmp_path, "x-") as place:
        place.touch()
        assert [path.name for path in tmp_path.iterdir()] == [place.name]
        assert place.name.startswith("x-")
    assert not list(tmp_path.iterdir())


def test_a_synced_file_is_new(tmp_path: Path) -> None:
    write_synced(tmp_path / "file", b"1")
    with pytest.raises(FileExistsError):
        write_synced(tmp_path / "file", b"2")
    assert (tmp_path / "file").read_bytes() == b"1"
