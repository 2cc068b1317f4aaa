"""The units of the preparation: one part of the listing, its rows and the account of every entry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.stages.prepare import layout as prepared
from flows.stages.prepare.duplicates import HashTask, find_duplicates, read_duplicates
from flows.stages.prepare.units import PrepareTask, Rules
from infra.digests import Json, canonical_json, sha256
from infra.errors import InputError, IntegrityError
from infra.outputs.plan import Output, Plan, Record
from infra.sources.decode import decode
from infra.sources.listing.listing import listed
from infra.sources.shape import Shape
from infra.sources.source import Content, Entry, Source
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from tests.pictures import encoded, picture

UNIT = 4
RULES = Rules(
    shape=Shape(height=8, width=8, channels=3),
    min_side=0,
    held_out="7" + "f" * 63,
    splits_given=False,
    class_names=("cat", "dog"),
    quarantine=False,
)


@dataclass(frozen=True)
class Shelf(Source):
    """Entries and their contents."""

    contents: dict[str, Content]
    entries: tuple[Entry, ...]

    def find(self) -> Iterator[Entry]:
        yield from self.entries

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        for entry in entries:
            if entry.stamp == "changed":
                raise IntegrityError("changed since it was listed", item=entry.name)
            yield self.contents[entry.name]

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        return decode(content, entry.name)


def shelf(*contents: Content, **fields: Sequence[str]) -> Shelf:
    entries = [Entry(name=f"{number:02d}") for number in range(len(contents))]
    for field, values in fields.items():
        entries = [replace(entry, **{field: value}) for entry, value in zip(entries, values, strict=True)]
    return Shelf({entry.name: content for entry, content in zip(entries, contents, strict=True)}, tuple(entries))


def good(count: int) -> list[bytes]:
    return [encoded(picture(number)) for number in range(count)]


@pytest.fixture
def output(tmp_path: Path) -> Output:
    store = open_store(str(tmp_path / "root"))
    store.make()
    return Output(store=store, plan=Plan(stage="prepare", format_version=1, settings={}, inputs={}))


def put_listing(output: Output, source: Source) -> int:
    with listed(source) as listing:
        parts = list(listing.parts(UNIT))
    for number, part in enumerate(parts):
        prepared.put_listing(output, number, part)
    return len(parts)


def task(output: Output, source: Source, **rules: object) -> PrepareTask:
    put_listing(output, source)
    changed = replace(RULES, **rules)
    return PrepareTask(output=output, source=source, rules=changed, unit_images=UNIT, duplicates=False)


def report(output: Output, unit: int) -> Json:
    return prepared.unit_account(output, unit)


def rows(output: Output, unit: int, split: str) -> list[dict[str, object]]:
    record = prepared.unit_account(output, unit)["files"].get(split)
    return [] if record is None else pq.read_table(BytesIO(output.read(Record(**record)))).to_pylist()


def test_a_unit_is_its_part_and_no_other(output: Output) -> None:
    source = shelf(*good(8), label=["cat", "dog", "cat", "cat", "dog", "other", "", "Cat"])
    task(output, source).open()(1)
    assert not prepared.is_committed(output, 0)
    made = {split: rows(output, 1, split) for split in ("train", "test")}
    assert sorted(row["name"] for split in made for row in made[split]) == ["04", "05", "06", "07"]
    assert made["train"], "this test needs both"
    assert made["test"], "this test needs both"
    ids = [row["id"] for split in ("train", "test") for row in made[split]]
    assert ids == [4, 5, 6, 7], "they count up from the part's number times its length, train before test"
    for split in made:
        for row in made[split]:
            number = int(str(row["name"]))
            assert row["split"] == split
            assert row["sha256"] == sha256(good(8)[number])
            assert (split == "test") == (int(str(row["sha256"]), 16) / 2**256 < 0.5)
            assert row["label"] == (1 if number == 4 else -1)
            assert row["image"] == np.asarray(picture(number)).transpose(2, 0, 1).tobytes()


def test_the_report_counts_what_was_written(output: Output) -> None:
    source = shelf(*good(4), label=["cat", "dog", "cat", "cat"], split=["train", "test", "train", "train"])
    task(output, source, splits_given=True).open()(0)
    said = report(output, 0)
    assert (said["read"], said["written"]) == (4, {"train": 3, "test": 1})
    assert (said["filtered"], said["quarantined"]) == ({}, [])
    assert said["classes"] == {"train": {"0": 3}, "test": {"1": 1}}
    pixels = np.stack([np.asarray(picture(number)) for number in range(4)])
    expected = [np.histogram(pixels[..., channel], bins=np.arange(257))[0].tolist() for channel in range(3)]
    assert said["histogram"] == expected


def test_a_unit_made_twice_is_there_once(output: Output) -> None:
    run = task(output, shelf(*good(4))).open()
    run(0)
    kept = {name: output.store.read(name) for name in output.store.list(f"{output.folder}/units")}
    run(0)
    assert {name: output.store.read(name) for name in output.store.list(f"{output.folder}/units")} == kept


def test_the_account_comes_last(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what says that the unit is done."""
    order: list[str] = []
    put = LocalStore.put_if_absent
    made = task(output, shelf(*good(4)))
    monkeypatch.setattr(
        LocalStore, "put_if_absent", lambda self, name, data: (order.append(name), put(self, name, data))[1]
    )
    made.open()(0)
    assert [name.rsplit("/", 1)[1].split(".")[0] for name in order] == ["000000-train", "000000-test", "000000"]


def test_a_source_that_changed(output: Output) -> None:
    source = shelf(*good(3), stamp=["", "changed", ""])
    for rules in ({}, {"quarantine": True}):
        with pytest.raises(IntegrityError, match="changed since it was listed"):
            task(output, source, **rules).open()(0)
    assert output.records("units") == []


class TestEveryEntryIsAccountedFor:
    bad = (b"", b"junk", InputError("cannot be read", item="x"))

    def test_bad_ones_are_set_aside_with_their_reasons(self, output: Output) -> None:
        source = shelf(good(1)[0], *self.bad)
        task(output, source, quarantine=True).open()(0)
        said = report(output, 0)
        assert said["read"] == 4
        assert sum(said["written"].values()) == 1
        assert [(one["name"], one["sha256"]) for one in said["quarantined"]] == [
            ("01", sha256(b"")),
            ("02", sha256(b"junk")),
            ("03", ""),
        ]
        assert said["quarantined"][2]["reason"] == "cannot be read"

    @pytest.mark.parametrize("content", bad)
    def test_or_the_first_ends_it(self, output: Output, content: Content) -> None:
        with pytest.raises(InputError):
            task(output, shelf(good(1)[0], content)).open()(0)
        assert output.records("units") == []

    def test_small_ones(self, output: Output) -> None:
        sizes = [(8, 8), (9, 7), (8, 7), (100, 8)]
        source = shelf(*(encoded(picture(0, size)) for size in sizes))
        task(output, source, min_side=8).open()(0)
        assert report(output, 0)["filtered"] == {"too small": 2}
        assert {row["name"] for split in ("train", "test") for row in rows(output, 0, split)} == {"00", "03"}

    def test_those_outside_given_splits(self, output: Output) -> None:
        source = shelf(*good(2), b"junk", split=["train", "test", ""])
        task(output, source, splits_given=True).open()(0)
        said = report(output, 0)
        assert said["filtered"] == {"outside train and test": 1}, "it is not even read"
        assert [row["name"] for row in rows(output, 0, "train")] == ["00"]
        assert [row["name"] for row in rows(output, 0, "test")] == ["01"]

    def test_a_part_of_which_nothing_is_left(self, output: Output) -> None:
        task(output, shelf(b"", b"junk"), quarantine=True).open()(0)
        assert report(output, 0)["written"] == {"train": 0, "test": 0}
        assert rows(output, 0, "train") == rows(output, 0, "test") == []


class TestDuplicates:
    def found(self, output: Output, source: Source, *, splits_given: bool = False) -> list[str]:
        units = put_listing(output, source)
        run = HashTask(output=output, source=source, splits_given=splits_given).open()
        for unit in reversed(range(units)):
            run(unit)
        return find_duplicates(output, units)

    def test_the_first_stays(self, output: Output) -> None:
        """Within a part and across parts, many times."""
        draw = np.random.default_rng(0).integers(0, 12, 50)
        contents = [bytes([value]) * 3 for value in draw]
        first = {content: number for number, content in reversed(list(enumerate(contents)))}
        expected = [f"{number:02d}" for number, content in enumerate(contents) if first[content] != number]
        assert len(expected) == 50 - 12
        assert self.found(output, shelf(*contents)) == expected

    def test_none(self, output: Output) -> None:
        assert self.found(output, shelf(*good(9))) == []

    def test_what_cannot_be_read_repeats_nothing(self, output: Output) -> None:
        bad = InputError("cannot be read", item="x")
        assert self.found(output, shelf(b"a", bad, bad, b"a", bad, bad)) == ["03"]

    def test_what_is_left_out_makes_nothing_a_duplicate(self, output: Output) -> None:
        """Or an image would be lost altogether: the first not written, the second left out as its copy."""
        source = shelf(b"a", b"a", b"a", b"b", b"b", split=["", "train", "test", "train", ""])
        assert self.found(output, source, splits_given=True) == ["02"]

    def test_the_units_leave_them_out(self, output: Output) -> None:
        contents = good(6)
        contents[5] = contents[0]
        source = shelf(*contents)
        made = replace(task(output, source), duplicates=True)
        output.commit("duplicates", "json", canonical_json(self.found(output, source)), {})
        assert read_duplicates(output) == {"05"}
        made.open()(1)
        said = report(output, 1)
        assert (said["read"], said["filtered"], sum(said["written"].values())) == (2, {"duplicate": 1}, 1)
