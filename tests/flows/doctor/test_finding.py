"""Findings as lines and as JSON."""

import json

from flows.doctor.finding import Finding, Level, doubt, fine, wrong
from infra.errors import StorageError


def test_the_finding_of_an_error_has_its_exit_code_and_words() -> None:
    found = wrong(StorageError("does not answer", item="s3://runs", remedy="run again"))
    assert (found.level, found.exit_code) == (Level.WRONG, 4)
    assert str(found) == "s3://runs: does not answer - run again"
    assert Finding.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_only_what_is_wrong_has_an_exit_code() -> None:
    assert [one.exit_code for one in (fine("well"), doubt("less"))] == [0, 0]
    assert str(doubt("two\nlines")) == "two lines"
