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
        ("execution", ("here", "job"), ("cluster", "")),
        (
            "ray_jobs",
            ("", "http://head:8265", "https://[::1]:8265/a"),
            ("head:8265", "ray://a", "http://a:b@c", "http://a?b"),
        ),
        ("patience", (0.5, 1440), (0, -1, 1441)),
        ("experiment", ("a b", "x" * 128), ("", "a/b", "x" * 129)),
        ("register_as", ("", "a", "A-1 b.c", "x" * 64), (" a", "a/b", "a@b", "a:b", "a'", "x" * 65, "a\n")),
    ],
)
def test_ranges(name: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        assert getattr(RunSettings.model_validate({name: value}), name) == value
    for value in bad:
        with pytest.raises(ValidationError):
            RunSettings.model_validate({name: value})


def test_the_registry_is_mlflows_and_the_champion_the_registrys() -> None:
    assert RunSettings(register_as="net", champion_by="fid").champion_by == "fid"
    for values in ({"champion_by": "fid"}, {"register_as": "net", "tracking": False}):
        with pytest.raises(ValidationError, match=r"needs (register_as|tracking)"):
            RunSettings.model_validate(values)


def test_a_job_is_on_ray() -> None:
    with pytest.raises(ValidationError, match="execution=job needs Ray; got mode in-process"):
        RunSettings(execution="job", mode="in-process")


def test_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        RunSettings.model_validate({"unheard_of": 1})
    with pytest.raises(ValidationError, match="frozen"):
        RunSettings().name = "other"
