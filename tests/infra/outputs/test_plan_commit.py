"""Commits and seals: a unit's first record wins, and no changed byte goes unseen."""

from pathlib import Path

import pytest

from infra.digests import canonical_json, sha256
from infra.errors import IntegrityError
from infra.outputs.manifest import root_digest
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from tests.infra.outputs.example import HERE, path, seal


class TestCommit:
    def test_the_record_says_what_the_bytes_are(self, output: Output, store: LocalStore) -> None:
        record = output.commit("units/000000", "bin", b"data", {"n": 1})
        assert (record.bytes, record.sha256, record.facts) == (4, sha256(b"data"), {"n": 1})
        assert store.read(f"{output.folder}/{record.file}") == b"data"
        assert output.record("units/000000") == record
        assert output.read(record) == b"data"

    def test_is_idempotent(self, output: Output, store: LocalStore) -> None:
        first = output.commit("units/000000", "bin", b"data", {"n": 1})
        before = store.list(output.folder)
        assert output.commit("units/000000", "bin", b"data", {"n": 1}) == first
        assert store.list(output.folder) == before

    def test_a_divergent_duplicate_loses_and_leaves_nothing(self, output: Output, store: LocalStore) -> None:
        first = output.commit("units/000000", "bin", b"data", {})
        before = store.list(output.folder)
        assert output.commit("units/000000", "bin", b"other", {}) == first
        assert store.list(output.folder) == before
        assert output.read(first) == b"data"

    def test_bytes_without_their_record_are_no_commit(self, output: Output, store: LocalStore) -> None:
        record = output.commit("units/000000", "bin", b"data", {})
        store.delete(f"{output.folder}/units/000000.json")
        assert output.record("units/000000") is None
        assert output.records("units") == []
        assert output.commit("units/000000", "bin", b"data", {}) == record

    def test_lost_bytes_come_back_with_the_next_commit(self, output: Output, store: LocalStore) -> None:
        record = output.commit("units/000000", "bin", b"data", {})
        store.delete(f"{output.folder}/{record.file}")
        output.commit("units/000000", "bin", b"data", {})
        assert output.read(record) == b"data"

    def test_records_are_listed_in_order(self, output: Output) -> None:
        for number in (2, 0, 1):
            output.commit(f"units/{number:06d}", "bin", b"%d" % number, {})
        assert output.records("units") == ["units/000000", "units/000001", "units/000002"]
        assert output.records("other") == []

    @pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"{}", b'{"file": "x"}', b"\xff", b"null"])
    def test_a_damaged_record_is_named(self, output: Output, garbage: bytes) -> None:
        output.commit("units/000000", "bin", b"data", {})
        path(output, "units/000000.json").write_bytes(garbage)
        with pytest.raises(IntegrityError, match=r"units/000000\.json"):
            output.record("units/000000")


class TestSeal:
    def test_the_manifest_comes_back(self, output: Output) -> None:
        sealed = seal(output)
        assert output.manifest({}) == sealed
        assert sealed.key == output.plan.key
        assert sealed.plan == output.plan.as_json()
        assert sealed.environment == HERE
        assert sealed.facts == {"total": 3}
        assert [unit["rows"] for unit in sealed.units] == [1, 2, 3]

    def test_nothing_is_sealed_before(self, output: Output) -> None:
        output.begin(HERE)
        assert output.manifest({}) is None

    def test_each_goal_has_a_manifest(self, output: Output) -> None:
        two, three = seal(output, 2, {"count": 2}), seal(output, 3, {"count": 3})
        assert output.manifest({"count": 2}) == two
        assert output.manifest({"count": 3}) == three
        assert output.manifest({"count": 4}) is None
        assert two.digest != three.digest
        assert two.units == three.units[:2], "units are shared"

    def test_sealing_again_gives_what_is_there(self, output: Output) -> None:
        first = seal(output)
        before = path(output, "manifests/all.json").read_bytes()
        again = output.seal({}, first.units, {"total": "other facts"})
        assert again == first
        assert path(output, "manifests/all.json").read_bytes() == before

    def test_sealing_other_bytes_is_refused(self, output: Output) -> None:
        sealed = seal(output)
        with pytest.raises(IntegrityError, match="other bytes"):
            output.seal({}, sealed.units[:2], {})

    def test_the_digest_is_of_units_and_rows_in_order(self, output: Output) -> None:
        sealed = seal(output)
        data = [b"unit 0", b"unit 1", b"unit 2"]
        rows = [[sha256(part), number + 1] for number, part in enumerate(data)]
        assert sealed.digest == sha256(canonical_json(rows))
        assert root_digest(sealed.units[::-1]) != sealed.digest
        more = [unit | {"rows": unit["rows"] + 1} for unit in sealed.units]
        assert root_digest(more) != sealed.digest

    def test_the_digest_holds_no_place_and_no_environment(self, plan: Plan, tmp_path: Path) -> None:
        digests = set()
        for number in range(2):
            store = open_store(str(tmp_path / str(number)))
            store.make()
            output = Output(store=store, plan=plan, attempt=number)
            output.begin({"torch": str(number)})
            record = output.commit("units/000000", "bin", b"x", {"when": number})
            digests.add(output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], {"n": number}).digest)
        assert len(digests) == 1

    def test_a_changed_unit_is_not_sealed(self, output: Output, store: LocalStore) -> None:
        output.begin(HERE)
        record = output.commit("units/000000", "bin", b"data", {})
        path(output, record.file).write_bytes(b"dafa")
        with pytest.raises(IntegrityError, match="differs from its digest"):
            output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], {})
        assert output.manifest({}) is None
        assert store.list(f"{output.folder}/manifests") == []
