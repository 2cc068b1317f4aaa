"""Ranges of the run's own settings."""

from typing import Any

import pytest
from pydantic import ValidationError

from flows.runtime.settings import RunSettings


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("name", ("", "a", "A-1_b.c", "x" * 64), ("a b", "a/b", "x" * 65, "<b>", "a\n", "a=1")),
        ("preset", ("digits", "fashion-mnist"), ("", "a b", "../x", "Digits", "x" * 33, "a\n")),
        ("root", ("", "/a b/ä", "s3://b/c"), ("x" * 4097,)),
        ("mode", ("ray", "in-process"), ("local",)),
        ("experiment", ("a b", "x" * 128), ("", "a/b", "x" * 129)),
    ],
)
def test_ranges(name: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        assert getattr(RunSettings.model_validate({name: value}), name) == value
    for value in bad:
        with pytest.raises(ValidationError):
            RunSettings.model_validate({name: value})


def test_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        RunSettings.model_validate({"unheard_of": 1})
    with pytest.raises(ValidationError, match="frozen"):
        RunSettings().name = "other"
