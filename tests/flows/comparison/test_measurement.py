"""Values that were measured under other conditions are unlike, and the reason names both conditions."""

from typing import Any

import pytest

from flows.comparison.measurement import Measurement, alike, remark

DATA, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def measured(name: str = "fd_pixels", **conditions: Any) -> Measurement:
    return Measurement(name=name, value=1.0, conditions=conditions)


@pytest.mark.parametrize(
    ("name", "first", "second", "reason"),
    [
        ("fid", {"samples": 512}, {"samples": 5000}, "N 512 against 5,000: a Fréchet distance is biased by N"),
        ("sfd_inception", {"samples": 9}, {"samples": 10}, "N 9 against 10: a Fréchet distance is biased by N"),
        ("fid_infinity", {"samples": 512}, {"samples": 5000}, "N 512 against 5,000"),
        ("kid_inception", {"samples": 512}, {"samples": 5000}, "N 512 against 5,000"),
        ("fd_pixels", {"data": DATA}, {"data": OTHER}, "data 01234567 against fedcba98: other images"),
        ("fid", {"extractor": DATA}, {}, "extractor 01234567 against none: other features"),
        ("bits_per_dim_x", {"bpd_images": 256}, {"bpd_images": 512}, "bpd_images 256 against 512"),
        ("eps_mse", {"num_timesteps": 20}, {"num_timesteps": 40},
         "T 20 against 40: its terms split the bound at other points"),
        ("bits_per_dim_x", {"labels": True}, {"labels": False},
         "bound given labels yes against no: a network that knows the label needs fewer bits"),
        ("x", {"a": 1, "b": 2}, {"b": 3, "a": 2}, "a 1 against 2; b 2 against 3"),
    ],
)  # fmt: skip
def test_the_reason(name: str, first: dict[str, Any], second: dict[str, Any], reason: str) -> None:
    assert alike(measured(name, **first), measured(name, **second)) == reason


def test_equal_conditions_are_alike_in_any_order() -> None:
    assert alike(measured(a=1, b=2), measured(b=2, a=1)) is None


def test_other_figures_are_unlike() -> None:
    assert alike(measured("fid"), measured("fd_pixels")) == "fid is another figure than fd_pixels"


def test_remarks_are_said_and_forbid_nothing() -> None:
    first = Measurement(name="x", value=1.0, remarks={"num_timesteps": 20, "ema": 887000.0})
    second = Measurement(name="x", value=1.0, remarks={"num_timesteps": 40, "ema": 1000.0})
    assert alike(first, second) is None
    assert remark(first, second) == "T 20 against 40; EMA half-life 887,000.0 against 1,000.0"
    assert remark(first, first) == ""
