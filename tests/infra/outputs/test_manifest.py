"""Manifests: no changed byte, unit or field goes unseen."""

import json
from collections.abc import Callable

import pytest

from infra.digests import canonical_json, sha256
from infra.errors import IntegrityError
from infra.outputs.manifest import manifest_name, parse_manifest, read_part, read_verified, verify
from infra.outputs.plan import Output
from infra.storage.local_store import LocalStore
from tests.infra.outputs.example import path, seal


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


class TestReading:
    def test_a_part(self, output: Output, store: LocalStore) -> None:
        unit = seal(output).units[0]
        whole = read_verified(store, output.folder, unit)
        assert read_part(store, output.folder, unit) == whole
        assert read_part(store, output.folder, unit, 1, 2) == whole[1:3]

    def test_a_part_of_what_is_missing(self, output: Output, store: LocalStore) -> None:
        unit = seal(output).units[0]
        store.delete(f"{output.folder}/{unit['file']}")
        with pytest.raises(IntegrityError, match="is missing"):
            read_part(store, output.folder, unit, 1, 2)


def test_names_tell_goals_apart() -> None:
    assert manifest_name("f", {}) == "f/manifests/all.json"
    assert manifest_name("f", {"b": 2, "a": 1}) == manifest_name("f", {"a": 1, "b": 2}) == "f/manifests/a-1-b-2.json"


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

    @pytest.mark.parametrize(
        "within", [lambda record: record, lambda record: [1, record], lambda record: [{"more": {"one": record}}]]
    )
    def test_a_file_that_a_fact_names_at_any_depth(
        self, output: Output, store: LocalStore, within: Callable[[dict[str, object]], object]
    ) -> None:
        output.begin({})
        record = output.commit("more", "json", b"[]", {})
        sealed = output.seal({}, [], {"more": within(record.as_json()), "count": 3})
        verify(store, sealed)
        path(output, record.file).write_bytes(b"{}")
        with pytest.raises(IntegrityError, match="differs from its digest"):
            verify(store, sealed)

    def test_what_was_found_whole_is_not_read_again(self, output: Output, store: LocalStore) -> None:
        sealed, whole = seal(output), set()
        verify(store, sealed, whole)
        path(output, sealed.units[0]["file"]).unlink()
        verify(store, sealed, whole)
        with pytest.raises(IntegrityError, match="is missing"):
            verify(store, sealed)

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

    def parse(self, output: Output, value: dict[str, object]) -> None:
        """Read it with a checksum that fits, as whoever changes it on purpose would leave it."""
        rest = {key: value[key] for key in value.keys() - {"sha256"}}
        self.parse_as_is(output, rest | {"sha256": sha256(canonical_json(rest))})

    def parse_as_is(self, output: Output, value: object) -> None:
        path(output, "manifests/all.json").write_bytes(json.dumps(value).encode())
        output.manifest({})

    @pytest.mark.parametrize(
        "change",
        [
            lambda value: value["units"][0]["facts"].update(split="other"),
            lambda value: value["units"].reverse(),
            lambda value: value["facts"].update(mean=[-5.0]),
            lambda value: value["plan"]["settings"].update(seed=3),
            lambda value: value.update(environment={"torch": "1"}),
            lambda value: value.update(sha256="0" * 64),
        ],
    )
    def test_any_change_is_seen(
        self, output: Output, stored: dict[str, object], change: Callable[[dict[str, object]], object]
    ) -> None:
        self.parse_as_is(output, stored)
        change(stored)
        with pytest.raises(IntegrityError, match="was changed since it was sealed") as caught:
            self.parse_as_is(output, stored)
        assert caught.value.exit_code == 6

    def test_untouched_it_parses(self, output: Output, stored: dict[str, object]) -> None:
        self.parse(output, stored)

    @pytest.mark.parametrize(("key", "value"), [("digest", "0" * 64), ("format", "other"), ("version", 1)])
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
