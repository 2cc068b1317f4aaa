"""Parts and units as stored: whole or refused, the first account wins, and every image is in it."""

import json
from pathlib import Path

import pytest

from flows.stages.prepare import layout as prepared
from infra.digests import sha256
from infra.errors import IntegrityError
from infra.outputs.plan import Output, Plan
from infra.sources.source import Entry
from infra.storage.open import open_store

ACCOUNT = {"read": 3, "written": {"train": 1, "test": 0}, "filtered": {"too small": 1}, "quarantined": [{"name": "x"}]}
FILES = {"train": (b"bytes", {"split": "train", "first_id": 0, "rows": 1})}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(store=open_store(str(tmp_path)), plan=Plan(stage="p", format_version=1, settings={}, inputs={}))


def part(*names: str) -> bytes:
    return b"".join(json.dumps(Entry(name=name).as_json()).encode() + b"\n" for name in names)


def path(output: Output, name: str) -> Path:
    return Path(output.store.uri) / output.folder / name


class TestListing:
    def test_what_was_put_is_read(self, output: Output) -> None:
        prepared.put_listing(output, 3, part("a", "é"))
        assert [entry.name for entry in prepared.listing_entries(output, 3)] == ["a", "é"]

    def test_the_first_stays(self, output: Output) -> None:
        prepared.put_listing(output, 0, part("a"))
        prepared.put_listing(output, 0, part("b"))
        assert [entry.name for entry in prepared.listing_entries(output, 0)] == ["a"]

    def test_every_changed_byte_is_seen(self, output: Output) -> None:
        prepared.put_listing(output, 0, part("a", "b"))
        file = path(output, "listing/000000.jsonl")
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(IntegrityError, match=r"000000\.jsonl: differs from its digest"):
                prepared.listing_entries(output, 0)

    @pytest.mark.parametrize("cut", [0, 1, 20, -1])
    def test_a_cut_one(self, output: Output, cut: int) -> None:
        prepared.put_listing(output, 0, part("a", "b"))
        file = path(output, "listing/000000.jsonl")
        file.write_bytes(file.read_bytes()[:cut])
        with pytest.raises(IntegrityError, match="differs from its digest"):
            prepared.listing_entries(output, 0)

    def test_a_missing_one(self, output: Output) -> None:
        with pytest.raises(IntegrityError, match=r"000007\.jsonl: is missing"):
            prepared.listing_entries(output, 7)


class TestUnit:
    def test_what_was_committed_is_there(self, output: Output) -> None:
        assert not prepared.is_committed(output, 0)
        prepared.commit_unit(output, 0, FILES, ACCOUNT)
        assert prepared.is_committed(output, 0)
        account = prepared.unit_account(output, 0)
        record = account["files"]["train"]
        assert {name: account[name] for name in ACCOUNT} == ACCOUNT
        assert (record["sha256"], record["bytes"], record["facts"]) == (sha256(b"bytes"), 5, FILES["train"][1])
        assert path(output, record["file"]).read_bytes() == b"bytes"

    def test_the_first_account_wins(self, output: Output) -> None:
        prepared.commit_unit(output, 0, FILES, ACCOUNT)
        prepared.commit_unit(output, 0, {"train": (b"other", FILES["train"][1])}, ACCOUNT)
        assert prepared.unit_account(output, 0)["files"]["train"]["sha256"] == sha256(b"bytes")

    @pytest.mark.parametrize(
        ("data", "complaint"),
        [
            (b"", "is not a unit's account"),
            (b"[]", "is not a unit's account"),
            (b"{}", "is not a unit's account"),
            (json.dumps(ACCOUNT).encode(), "is not a unit's account"),
            (json.dumps(ACCOUNT | {"files": {"train": 1}}).encode(), "is not a unit's account"),
            (json.dumps(ACCOUNT | {"files": {}, "read": 4}).encode(), "does not account for every image"),
        ],
    )
    def test_a_damaged_account(self, output: Output, data: bytes, complaint: str) -> None:
        output.store.put_if_absent(f"{output.folder}/units/000002.json", data)
        with pytest.raises(IntegrityError, match=complaint):
            prepared.unit_account(output, 2)

    def test_a_missing_account(self, output: Output) -> None:
        with pytest.raises(IntegrityError, match="is missing"):
            prepared.unit_account(output, 2)
