"""A check in a process of its own: findings, failures and secrets."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flows.doctor.check import Check, Subject
from flows.doctor.child import findings
from flows.doctor.finding import Finding, Level, fine
from infra.errors import ResourceError, Term

SUBJECT = Subject(root="here")


def found(run: object) -> list[Finding]:
    return findings(Check(name="made-up", about="?", run=run), SUBJECT)


def test_what_was_found_before_an_error_stays() -> None:
    def run(_: Subject) -> Iterator[Finding]:
        yield fine("well")
        raise ResourceError("is full", item="disk", remedy=f"choose {Term.ANOTHER_ROOT}")

    first, second = found(run)
    assert (first.level, first.check) == (Level.OK, "made-up")
    assert (second.exit_code, str(second)) == (7, "disk: is full - choose another --root")


def test_a_check_that_fails_is_a_bug_of_ours() -> None:
    def run(_: Subject) -> Iterator[Finding]:
        yield from ()
        raise KeyError("missing\nsecond line")

    (one,) = found(run)
    assert one.exit_code == 1
    assert one.cause.startswith("the check failed (KeyError: ")
    assert "at test_child.py:" in one.cause


def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-key")
    (one,) = found(lambda _: [fine("with canary-key", item="canary-key", remedy="canary-key")])
    assert "canary" not in str(one)


def test_its_output_is_the_findings_alone() -> None:
    command = [sys.executable, "-m", "flows.doctor.child", "limits"]
    subject = json.dumps(SUBJECT.as_json())
    done = subprocess.run(command, input=subject, capture_output=True, text=True, check=True)
    (one,) = json.loads(done.stdout)
    assert one["check"] == "limits"
    assert done.stderr == ""
