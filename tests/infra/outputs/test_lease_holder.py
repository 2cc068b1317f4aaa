"""The holder of a lease: told apart, found gone, shown in one line."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.outputs.lease_holder import Holder, parse_holder
from tests.scripts import python

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_stored_holder_is_read_back_and_lives() -> None:
    holder = Holder.here("digits-1a2b3c4d", NOON)
    assert parse_holder(holder.to_bytes()) == holder
    assert not holder.is_gone
    assert holder.to_bytes() != Holder.here("digits-1a2b3c4d", NOON).to_bytes()


def test_an_ended_process_is_gone_on_its_machine_only() -> None:
    child = python("pass")
    child.wait(timeout=60)
    ended = replace(Holder.here("a", NOON), pid=child.pid)
    assert ended.is_gone
    assert not replace(ended, machine="another").is_gone
    assert not replace(ended, machine=None).is_gone
    assert not replace(ended, process_start=None).is_gone


def test_a_pid_given_away_again_is_gone() -> None:
    here = Holder.here("a", NOON)
    assert here.process_start is not None
    assert replace(here, process_start=here.process_start - 1).is_gone


@pytest.mark.parametrize(
    ("started", "since"),
    [
        ("2026-03-01T14:03:59+00:00", " (since 14:03 UTC)"),
        ("2026-03-01T23:03:00+09:00", " (since 14:03 UTC)"),
        ("2026-02-28T14:03:00+00:00", " (since 2026-02-28 14:03 UTC)"),
        ("yesterday", ""),
    ],
)
def test_the_line_for_people(started: str, since: str) -> None:
    holder = replace(Holder.here("digits-1a2b", NOON), host="node7", pid=1234, started=started)
    line = f"digits-1a2b on host node7, process 1234, is working on this{since}"
    assert holder.notice_to(Holder.here("digits-1a2b", NOON)) == line


def test_a_stored_name_cannot_steer_the_terminal() -> None:
    holder = replace(Holder.here("a\x1b[2Jb\nc", NOON), host="h\r")
    assert "a [2Jb c on host h ," in holder.notice_to(holder)


@pytest.mark.parametrize(
    "change",
    [{"pid": "1"}, {"pid": 0}, {"pid": -1}, {"who": 3}, {"started": None}, {"process_start": "x"}, {"more": 1}],
    ids=str,
)
def test_damaged_fields_name_nobody(change: dict[str, object]) -> None:
    fields = json.loads(Holder.here("a", NOON).to_bytes())
    assert parse_holder(json.dumps(fields | change).encode()) is None


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[]", b"3", b"{}"], ids=repr)
def test_damaged_bytes_name_nobody(data: bytes) -> None:
    assert parse_holder(data) is None


def test_it_names_this_process() -> None:
    assert Holder.here("a", NOON).pid == os.getpid()
