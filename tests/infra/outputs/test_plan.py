"""Plans, their keys, and the outputs they begin, in the plain folder or aside."""

import json
from dataclasses import replace

import pytest

from infra.digests import canonical_json, sha256
from infra.errors import ConflictError, Term
from infra.outputs.plan import Output, Plan, current
from infra.storage.local_store import LocalStore
from tests.infra.outputs.example import HERE, path, seal

GARBAGE = [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'"text"']


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

    def test_goes_on_in_another(self, output: Output) -> None:
        first = output.begin(HERE, done=lambda: pytest.fail("nothing was done before"))
        assert (first.is_new, first.change) == (True, "")
        second = output.begin(HERE | {"torch": "2"}, done=lambda: {"units": 3})
        assert (second.is_new, second.change) == (False, "torch: 1 there, 2 here")
        again = output.begin(HERE | {"torch": "2"}, done=lambda: pytest.fail("it is recorded"))
        assert again.change == ""

    def test_strictly_refuses_another(self, output: Output) -> None:
        output.begin(HERE, strict=True)
        with pytest.raises(ConflictError) as caught:
            output.begin(HERE | {"torch": "2"}, strict=True)
        error = caught.value
        assert error.exit_code == 5
        assert "torch: 1 there, 2 here" in error.cause
        assert "device" not in error.cause, "what agrees is not listed"
        ways = (Term.ANY_ENVIRONMENT, "finish it there", Term.RUN_ANEW)
        assert all(way in error.remedy for way in ways)
        assert output.folder in error.item
        assert output.begin(HERE, strict=True).change == "", "a refusal leaves no trace"
        assert error.stage == "bake"

    def test_strictly_refuses_an_output_of_several(self, output: Output) -> None:
        output.begin(HERE)
        output.begin(HERE | {"torch": "2"})
        with pytest.raises(ConflictError, match="torch: 2 there, 1 here"):
            output.begin(HERE, strict=True)

    def test_what_no_longer_counts_is_ignored(self, output: Output) -> None:
        output.begin(HERE | {"more": "1"})
        assert output.begin(HERE, strict=True).change == ""

    def test_what_was_not_recorded_may_differ(self, output: Output) -> None:
        output.begin({"device": "x86_64 AVX2"})
        assert output.begin(HERE).change == "torch: unknown there, 1 here"

    def test_refuses_another_plan_of_the_same_key(self, output: Output, store: LocalStore) -> None:
        other = replace(output.plan, settings={"heat": 1})
        store.put_if_absent(f"{output.folder}/plan.json", canonical_json(other.as_json()))
        with pytest.raises(ConflictError, match="another plan"):
            output.begin(HERE)

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_a_damaged_plan_is_written_again(
        self, output: Output, garbage: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        output.begin(HERE)
        before = path(output, "plan.json").read_bytes()
        path(output, "plan.json").write_bytes(garbage)
        assert not output.begin(HERE).is_new
        assert path(output, "plan.json").read_bytes() == before
        assert f"{output.folder}/plan.json was damaged" in caplog.text

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_a_damaged_environment_is_an_unknown_one(self, output: Output, garbage: bytes) -> None:
        output.begin(HERE)
        path(output, "environment.json").write_bytes(garbage)
        assert "torch: unknown there, 1 here" in output.begin(HERE).change


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
