"""Which folders are shards or dates, and which are classes: a table of both, by the letters of the module."""

import pytest

from infra.sources.listing.numbering import Contents, first_to_last, is_numbered, parts_of


def look(*names: str, images: tuple[int, ...] = (20,), numbers: str = "again", around: str = "") -> str:
    """What these folders look like; their files are numbered anew in each folder, or on from folder to folder."""
    counts = [images[min(n, len(images) - 1)] for n in range(len(names))]
    found, first = {}, 0
    for name, count in zip(names, counts, strict=True):
        first = first if numbers == "on" else 0
        ends = (None, None) if numbers == "none" else (first, first + count - 1)
        found[name] = Contents(count, *ends)
        first += count
    return parts_of(found, around)


@pytest.mark.parametrize(
    "names",
    [
        ("part-3", "part-4"),
        ("part_1", "part_2", "part_10"),
        ("part-00000-of-00002", "part-00001-of-00002"),
        ("shard_07", "shard_08"),
        ("chunk0", "chunk1"),
        ("Batch 1", "Batch 2"),
        ("images_001", "images_012"),
        ("laion-part-001", "laion-part-002"),
        ("data_batch_1", "data_batch_2"),
        ("subset0", "subset1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("images", [(20,), (500, 3)])
def test_a_word_for_a_part_and_a_number_is_a_shard(names: tuple[str, ...], images: tuple[int, ...]) -> None:
    """Rule a, however many images there are."""
    assert look(*names, images=images) == "shards"
    assert all(map(is_numbered, names))


@pytest.mark.parametrize(
    ("names", "images", "numbers"),
    [
        (("00000", "01000", "69000"), (1000, 1000, 1000), "on"),
        (("00000", "00001", "00002"), (1000, 1000, 17), "on"),
        (("00000", "00001", "00002"), (20, 20, 20), "again"),
        (("00000", "00001", "00002"), (20, 20, 3), "none"),
        (("0000", "0001", "0002", "0003"), (900, 1000, 850, 2), "none"),
        (("00", "01", "02"), (500, 300, 700), "on"),
    ],
    ids=str,
)
def test_padded_numbers_are_shards(names: tuple[str, ...], images: tuple[int, ...], numbers: str) -> None:
    """Rule b."""
    assert look(*names, images=images, numbers=numbers) == "shards"


@pytest.mark.parametrize(
    ("names", "images", "numbers"),
    [
        (tuple("0123456789"), (5000,), "again"),
        (tuple("0123456789"), (5000,), "on"),
        (("0", "2", "10"), (12,), "on"),
        (tuple(str(n) for n in range(100)), (500,), "none"),
        (tuple(f"{n:02d}" for n in range(10)), (600,), "again"),
        (tuple(f"{n:05d}" for n in range(43)), (210, 2220, 2250, 1410), "again"),
        (("001", "002", "200"), (40, 60, 55), "none"),
        (("001", "002", "003"), (20,), "again"),
        (("0000", "0001", "0002"), (700, 1000, 900), "again"),
        (("10", "11", "12"), (500,), "on"),
        (("cats", "dogs"), (20,), "on"),
        (("cat_1", "dog_1"), (20,), "on"),
        (("class_1", "class_2"), (20,), "again"),
        (("c0", "c1"), (20,), "again"),
        (("n01440764", "n01443537"), (1300,), "on"),
        (("s1", "s2", "s40"), (10,), "again"),
        (("001.Black_footed_Albatross", "002.Laysan_Albatross"), (60,), "again"),
        (("cat_images_1", "dog_images_1"), (20,), "on"),
        (("part-1", "cats"), (20,), "on"),
        (("00000", "cats"), (20,), "on"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_classes(names: tuple[str, ...], images: tuple[int, ...], numbers: str) -> None:
    assert look(*names, images=images, numbers=numbers) == ""


@pytest.mark.parametrize(
    ("names", "around"),
    [
        (("2019", "2020"), ""),
        (("2019-07", "2019-08"), ""),
        (("2019-07-12", "2020-01-03"), ""),
        (("2019_07_12", "2019_07_13"), ""),
        (("20190712", "20190713"), ""),
        (("201907", "201908"), ""),
        (("2019-07-12 wedding", "2019-08-01 lake"), ""),
        (("12.07.2019", "13.07.2019"), ""),
        (("07", "08"), "2019"),
        (("7", "12", "31"), "2019-07"),
    ],
)
def test_dates(names: tuple[str, ...], around: str) -> None:
    assert look(*names, images=(3, 50), around=around) == "dates"


@pytest.mark.parametrize(
    ("names", "around"), [(("07", "08"), "data"), (("07", "32"), "2019"), (("1800", "1850"), ""), (("2019", "x"), "")]
)
def test_no_dates(names: tuple[str, ...], around: str) -> None:
    assert look(*names, images=(3, 50), around=around) == ""


def test_names_are_shown_from_the_first_to_the_last() -> None:
    assert first_to_last(["10", "9", "08"]) == "9–10"


def test_a_folder_without_numbers_in_its_files_runs_on_nowhere() -> None:
    contents = Contents(3, 1, 3)
    contents.add(Contents(2, None, None))
    assert contents == Contents(5, None, None)


def test_files_that_begin_at_the_last_number_of_the_folder_before_do_not_run_on() -> None:
    assert parts_of({"00": Contents(5, 0, 4), "01": Contents(5, 5, 9)}, "") == "shards"
    assert parts_of({"00": Contents(5, 0, 4), "01": Contents(5, 4, 8)}, "") == ""


def test_folders_of_one_name_hold_the_numbers_of_all() -> None:
    contents = Contents(3, 2, 9)
    contents.add(Contents(2, 1, 5))
    assert contents == Contents(5, 1, 9)
