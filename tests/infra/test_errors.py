"""Every kind of failure has its exit code, one printable line, and survives travel between processes."""

import pickle

import pytest

from infra.errors import (
    ConfigError,
    ConflictError,
    DdpmError,
    DivergedError,
    InputError,
    IntegrityError,
    ResourceError,
    StorageError,
    error_from_json,
    error_to_json,
)

# The table at the top of infra/errors.py, which users' scripts rely on.
CODES = {
    ConfigError: 2,
    InputError: 3,
    StorageError: 4,
    ConflictError: 5,
    IntegrityError: 6,
    ResourceError: 7,
    DivergedError: 8,
}


def test_exit_codes() -> None:
    assert {kind: kind.exit_code for kind in DdpmError.__subclasses__()} == CODES


def test_the_line_has_all_parts_in_order() -> None:
    error = InputError("is torn", item="a.png", remedy="mend it", stage="prepare")
    assert str(error) == "prepare: a.png: is torn - mend it"


def test_the_line_leaves_out_what_is_not_given() -> None:
    assert str(ConfigError("is wrong")) == "is wrong"
    assert str(ConfigError("is wrong", item="x")) == "x: is wrong"


@pytest.mark.parametrize("hostile", ["a\nb", "a\rb", "\x1b[2J", "a\x00b", "a\u2028b", "a\u202eb", "\udce9"])
def test_the_line_is_one_printable_line(hostile: str) -> None:
    line = str(InputError(hostile, item=hostile, remedy=hostile, stage=hostile))
    assert line.isprintable()
    assert line.splitlines() == [line]


@pytest.mark.parametrize("kind", CODES)
def test_nothing_is_lost_between_processes(kind: type[DdpmError]) -> None:
    error = kind("cause\n", item="ä", remedy='"r"', stage="s")
    for copy in (pickle.loads(pickle.dumps(error)), error_from_json(error_to_json(error))):
        assert type(copy) is kind
        assert (copy.cause, copy.item, copy.remedy, copy.stage) == ("cause\n", "ä", '"r"', "s")
        assert str(copy) == str(error)
