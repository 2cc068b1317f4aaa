"""Plans, commits, seals: a unit's first record wins, and no changed byte goes unseen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import ConflictError, IntegrityError
from infra.plan import (
    Manifest,
    Output,
    Plan,
    canonical_json,
    current,
    parse_manifest,
    read_verified,
    root_digest,
    verify,
)
from infra.store import LocalStore, open_store, sha256

HERE = {"device": "x86_64 AVX2", "torch": "1"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    opened = open_store(str(tmp_path / "root"))
    opened.make()
    return opened


@pytest.fixture
def plan() -> Plan:
    return Plan(stage="bake", format_version=1, settings={"heat": 180, "parts": [1, 2]}, inputs={"dough": "ab" * 32})


@pytest.fixture
def output(store: LocalStore, plan: Plan) -> Output:
    return Output(store=store, plan=plan)


def seal(output: Output, count: int = 3, goal: dict[str, int] | None = None) -> Manifest:
    output.begin(HERE)
    units = []
    for number in range(count):
        record = output.commit(f"units/{number:06d}", "bin", f"unit {number}".encode(), {"n": number})
        units.append({"unit": number, "rows": number + 1, **record.as_json()})
    return output.seal(goal or {}, units, {"total": count})


def path(output: Output, name: str) -> Path:
    return Path(output.store.uri) / output.folder / name


class TestCanonicalJson:
    def test_order_of_keys_does_not_matter(self) -> None:
        one = {"a": {"x": 1, "y": [1, {"p": 1, "q": 2}]}, "b": None}
        other = {"b": None, "a": {"y": [1, {"q": 2, "p": 1}], "x": 1}}
        assert canonical_json(one) == canonical_json(other)

    def test_order_of_lists_does(self) -> None:
        assert canonical_json([1, 2]) != canonical_json([2, 1])

    def test_exact_form(self) -> None:
        assert canonical_json({"b": [1, 2.5, True], "a": "ä"}) == '{"a":"ä","b":[1,2.5,true]}'.encode()

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_json_does_not_have_is_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical_json({"x": value})


class TestKey:
    def test_independent_of_dict_order(self, plan: Plan) -> None:
        turned = replace(plan, settings=dict(reversed(plan.settings.items())))
        assert list(turned.settings) != list(plan.settings)
        assert turned.fingerprint == plan.fingerprint

    def test_every_part_counts(self, plan: Plan) -> None:
        others = [
            replace(plan, stage="cook"),
            replace(plan, format_version=2),
            replace(plan, settings=plan.settings | {"heat": 181}),
            replace(plan, settings=plan.settings | {"heat": 180.5}),
            replace(plan, settings=plan.settings | {"parts": [2, 1]}),
            replace(plan, settings=plan.settings | {"more": None}),
            replace(plan, settings={"heat": 180}),
            replace(plan, inputs={"dough": "cd" * 32}),
            replace(plan, inputs={"batter": "ab" * 32}),
        ]
        assert len({other.key for other in [plan, *others]}) == 1 + len(others)

    def test_is_the_start_of_the_sha256(self, plan: Plan) -> None:
        stored = {"stage": "bake", "format_version": 1, "settings": plan.settings, "inputs": plan.inputs}
        assert plan.fingerprint == sha256(canonical_json(stored))
        assert plan.key == plan.fingerprint[:20]

    def test_survives_storage(self, plan: Plan) -> None:
        assert Plan(**json.loads(canonical_json(plan.as_json()))).key == plan.key


class TestBegin:
    def test_joins_the_same_environment(self, output: Output) -> None:
        output.begin(HERE)
        before = path(output, "environment.json").stat().st_mtime_ns
        output.begin(dict(reversed(HERE.items())))
        assert path(output, "environment.json").stat().st_mtime_ns == before

    def test_refuses_another(self, output: Output) -> None:
        output.begin(HERE)
        with pytest.raises(ConflictError) as caught:
            output.begin(HERE | {"torch": "2"})
        error = caught.value
        assert error.exit_code == 5
        assert "torch: 1 there, 2 here" in error.cause
        assert "device" not in error.cause, "what agrees is not listed"
        assert "--force" in error.remedy
        assert output.folder in error.item
        assert error.stage == "bake"

    @pytest.mark.parametrize("there", [{"device": "x86_64 AVX2"}, HERE | {"more": "1"}])
    def test_refuses_one_with_more_or_less_in_it(self, output: Output, there: dict[str, str]) -> None:
        output.begin(there)
        with pytest.raises(ConflictError):
            output.begin(HERE)

    def test_refuses_another_plan_of_the_same_key(self, output: Output, store: LocalStore) -> None:
        other = replace(output.plan, settings={"heat": 1})
        store.put_if_absent(f"{output.folder}/plan.json", canonical_json(other.as_json()))
        with pytest.raises(ConflictError, match="another plan"):
            output.begin(HERE)

    @pytest.mark.parametrize("garbage", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'"text"'])
    @pytest.mark.parametrize("name", ["plan.json", "environment.json"])
    def test_damage_is_named(self, output: Output, name: str, garbage: bytes) -> None:
        output.begin(HERE)
        path(output, name).write_bytes(garbage)
        with pytest.raises(IntegrityError, match=name) as caught:
            output.begin(HERE)
        assert "--force" in caught.value.remedy


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


class TestVerify:
    def test_a_whole_output_passes(self, output: Output, store: LocalStore) -> None:
        verify(store, seal(output))

    def test_every_changed_byte_is_seen(self, output: Output, store: LocalStore) -> None:
        sealed = seal(output)
        for unit in sealed.units:
            file = path(output, unit["file"])
            whole = file.read_bytes()
            for place in range(len(whole)):
                for bit in (0x01, 0x80):
                    changed = bytearray(whole)
                    changed[place] ^= bit
                    file.write_bytes(changed)
                    with pytest.raises(IntegrityError, match="differs from its digest") as caught:
                        verify(store, sealed)
                    assert unit["file"] in caught.value.item
            file.write_bytes(whole)
        verify(store, sealed)

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
    def test_other_lengths_are_seen(self, output: Output, store: LocalStore, change: object) -> None:
        sealed = seal(output)
        file = path(output, sealed.units[1]["file"])
        file.write_bytes(change(file.read_bytes()))
        with pytest.raises(IntegrityError):
            verify(store, sealed)

    def test_a_missing_unit_is_named(self, output: Output, store: LocalStore) -> None:
        sealed = seal(output)
        store.delete(f"{output.folder}/{sealed.units[2]['file']}")
        with pytest.raises(IntegrityError, match="is missing") as caught:
            verify(store, sealed)
        assert caught.value.item == f"{output.folder}/{sealed.units[2]['file']}"
        assert caught.value.exit_code == 6
        assert caught.value.remedy

    def test_swapped_units_are_seen(self, output: Output, store: LocalStore) -> None:
        sealed = seal(output)
        one, other = (path(output, sealed.units[number]["file"]) for number in (0, 1))
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
        with pytest.raises(IntegrityError):
            read_verified(store, output.folder, sealed.units[0])


class TestTamperedManifest:
    @pytest.fixture
    def stored(self, output: Output) -> dict[str, object]:
        seal(output)
        return json.loads(path(output, "manifests/all.json").read_bytes())

    def parse(self, output: Output, value: object) -> None:
        path(output, "manifests/all.json").write_bytes(json.dumps(value).encode())
        output.manifest({})

    def test_untouched_it_parses(self, output: Output, stored: dict[str, object]) -> None:
        self.parse(output, stored)

    @pytest.mark.parametrize(("key", "value"), [("digest", "0" * 64), ("format", "other"), ("version", 2)])
    def test_digest_format_version(self, output: Output, stored: dict[str, object], key: str, value: object) -> None:
        with pytest.raises(IntegrityError) as caught:
            self.parse(output, stored | {key: value})
        assert caught.value.exit_code == 6
        assert "manifests/all.json" in caught.value.item

    @pytest.mark.parametrize(("key", "value"), [("sha256", "0" * 64), ("rows", 9)])
    def test_a_units_digest_or_rows(self, output: Output, stored: dict[str, list], key: str, value: object) -> None:
        stored["units"][1][key] = value
        with pytest.raises(IntegrityError, match="does not follow"):
            self.parse(output, stored)

    def test_a_unit_dropped_or_doubled_or_moved(self, output: Output, stored: dict[str, list]) -> None:
        units = stored["units"]
        for changed in (units[:-1], [*units, units[0]], units[::-1], []):
            with pytest.raises(IntegrityError, match="does not follow"):
                self.parse(output, stored | {"units": changed})

    @pytest.mark.parametrize("key", ["stage", "units", "digest", "plan", "facts", "format", "version", "goal"])
    def test_a_missing_field(self, output: Output, stored: dict[str, object], key: str) -> None:
        del stored[key]
        with pytest.raises(IntegrityError, match="not a manifest"):
            self.parse(output, stored)

    def test_a_field_too_many(self, output: Output, stored: dict[str, object]) -> None:
        with pytest.raises(IntegrityError, match="not a manifest"):
            self.parse(output, stored | {"more": 1})

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}", b"PAR1" * 10, b"[" * 100]
    )
    def test_what_is_no_manifest(self, data: bytes) -> None:
        with pytest.raises(IntegrityError, match="not a manifest"):
            parse_manifest(data, "m.json")


class TestAttempts:
    def test_the_first_is_the_plain_folder(self, output: Output) -> None:
        assert current(output).folder == f"bake/{output.plan.key}"

    def test_force_where_nothing_was_begun_changes_nothing(self, output: Output) -> None:
        assert current(output, force=True).attempt == 0

    def test_force_goes_aside_and_is_found_from_then_on(self, output: Output) -> None:
        sealed = seal(output)
        aside = current(output, force=True)
        assert aside.folder == f"bake/{output.plan.key}.1"
        assert aside.manifest({}) is None
        assert current(output).attempt == 0, "until it has begun, the old one counts"
        again = seal(aside)
        assert current(output) == aside
        assert again.digest == sealed.digest
        assert output.manifest({}) == sealed, "the old one stays as it was"
        assert current(output, force=True).attempt == 2

    def test_another_environment_may_start_aside(self, output: Output) -> None:
        output.begin(HERE)
        aside = current(output, force=True)
        aside.begin({"torch": "other"})
        assert current(output) == aside
