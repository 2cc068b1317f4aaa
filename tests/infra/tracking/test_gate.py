"""The gate: only like is compared with like, and only a difference beyond its interval counts."""

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from scipy.stats import t

from infra.record import ModelFigure
from infra.tracking.gate import figure_tags, judge, tagged_figures

SAME = {"data": "a" * 64, "samples": "512"}


def figure(value: float, error: float | None = 0.1, **more: object) -> ModelFigure:
    fields = {"name": "fd", "value": value, "standard_error": error, "higher_is_better": False, "conditions": SAME}
    return ModelFigure(**(fields | more))


def test_twice_the_standard_error_of_the_difference_decides() -> None:
    """3² + 4² = 5², so the difference must exceed 10."""
    old = figure(100.0, 3.0)
    assert judge([figure(89.9, 4.0)], [old], "") == (True, "fd 89.9 ± 4 below 100 ± 3")
    within = judge([figure(90.1, 4.0)], [old], "")
    assert within == (False, "fd 90.1 ± 4 and 100 ± 3 differ by 9.9, within the interval of ± 10")
    assert not judge([figure(90.0, 4.0)], [old], "").is_better, "exactly at the end is within"
    assert judge([figure(110.1, 4.0)], [old], "") == (False, "fd 110.1 ± 4 is worse than 100 ± 3")


def test_few_terms_widen_the_interval_by_students_t() -> None:
    """Two kernel distances of ten blocks, equal errors: 18 degrees of freedom."""
    tail = 2 * NormalDist().cdf(-2.0)
    factor = float(t.isf(tail / 2, 18))
    assert 2.1 < factor < 2.2
    for gain, expected in ((factor - 0.01, False), (factor + 0.01, True)):
        new, old = (figure(value, math.sqrt(0.5), terms=10) for value in (100 - gain, 100.0))
        assert judge([new], [old], "").is_better is expected
    within = judge([figure(100 - 2.05, math.sqrt(0.5), terms=10)], [old], "")
    assert "within the interval of ± 2.1" in within.reason
    assert judge([figure(100 - 2.05, math.sqrt(0.5))], [replace(old, terms=None)], "").is_better, "of many terms"


def test_the_direction_is_the_figures_own() -> None:
    up = {"name": "inception_score", "higher_is_better": True}
    assert judge([figure(9.0, **up)], [figure(8.0, **up)], "").reason == "inception_score 9 ± 0.1 above 8 ± 0.1"
    assert not judge([figure(8.0, **up)], [figure(9.0, **up)], "").is_better
    neither = {"name": "authpct", "higher_is_better": None}
    verdict = judge([figure(9.0, **neither)], [figure(8.0, **neither)], "authpct")
    assert verdict == (False, "no larger or smaller authpct is better")


def test_equal_networks_take_the_title_as_rarely_as_the_interval_says() -> None:
    """Two measurements of one value: the new one wins by chance with the probability above 2 standard errors."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    errors = (0.3, 0.4)
    wins = sum(
        judge([figure(errors[0] * a, errors[0])], [figure(errors[1] * b, errors[1])], "").is_better
        for a, b in draws.tolist()
    )
    expected = 1 - NormalDist().cdf(2.0)
    assert abs(wins / len(draws) - expected) < 4 * math.sqrt(expected * (1 - expected) / len(draws))


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"data": "b" * 64, "samples": "512"}, "data bbbbbbbb here and aaaaaaaa there"),
        ({"data": "a" * 64, "samples": "1024"}, "samples 1024 here and 512 there"),
        (SAME | {"seed": "7"}, "seed 7 here and by default there"),
        ({"samples": "512"}, "data by default here and aaaaaaaa there"),
    ],
)
def test_unlike_figures_are_never_compared(conditions: dict[str, str], said: str) -> None:
    verdict = judge([figure(1.0, conditions=conditions)], [figure(100.0)], "")
    assert verdict == (False, f"the champion's fd is unlike: {said}")


def test_the_like_one_is_found_among_several() -> None:
    other = SAME | {"samples": "9"}
    old = [figure(1.0, conditions=other), figure(100.0)]
    assert judge([figure(50.0)], old, "").is_better
    assert not judge([figure(50.0, conditions=other)], old, "").is_better


@pytest.mark.parametrize("error", [None, math.nan, math.inf])
def test_without_a_standard_error_there_is_no_judgement(error: float | None) -> None:
    assert "has no standard error to judge by" in judge([figure(1.0, error)], [figure(100.0)], "fd").reason
    assert judge([figure(1.0)], [figure(100.0, error)], "").reason.startswith("the champion's fd 100")
    assert judge([figure(1.0, error)], [figure(100.0)], "") == (False, "no figure has a standard error")
    assert not judge([figure(math.nan)], [figure(100.0)], "fd").is_better
    assert not judge([figure(1.0)], [figure(math.nan)], "").is_better


def test_a_figure_says_what_its_standard_error_needs() -> None:
    few = figure(1.0, None, name="fid", error_needs="2,160 samples")
    assert judge([few], [few], "fid").reason == "fid 1 has no standard error to judge by: it needs 2,160 samples"
    assert judge([few], [few], "").reason == "no figure has a standard error: fid needs 2,160 samples"
    assert judge([figure(1.0, name="fid")], [few], "").reason == (
        "the champion's fid 1 has no standard error to judge by: it needs 2,160 samples"
    )
    assert tagged_figures(figure_tags([few])) == [few]


def test_the_first_figure_that_can_decide_does_unless_one_is_named() -> None:
    new = [figure(1.0, None, name="fid"), figure(5.0, name="bits_per_dim"), figure(1.0, name="kid")]
    old = [figure(9.0, name="fid"), figure(4.0, name="bits_per_dim"), figure(9.0, name="kid")]
    assert not judge(new, old, "").is_better
    assert judge(new, old, "kid").is_better
    assert judge(new, old, "fd").reason == "no figure fd; there are fid, bits_per_dim, kid"
    assert judge(new, old[:1], "").reason == "the champion has no bits_per_dim to compare with"
    assert judge([], old, "").reason == "no figure has a standard error"


def test_tags_bring_figures_back() -> None:
    figures = [
        figure(1 / 3),
        figure(2.0, None, higher_is_better=True),
        figure(3.0, conditions={}, terms=20),
        figure(4, name="fid"),
    ]
    tags = figure_tags(figures)
    assert tagged_figures(tags) == figures[1:], "one replaces its like"
    assert len(tags) == 3
    assert tagged_figures(figure_tags([replace(figures[0])])) == [figures[0]], "to the last bit"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"value": 1}', "null", "3"])
def test_damaged_tags_are_no_figures(text: str) -> None:
    ((key, whole),) = figure_tags([figure(1.0)]).items()
    assert tagged_figures({key: text, "ddpm.uri": "/net"}) == []
    assert tagged_figures({key: whole.replace("1.0", '"a"')}) == []
    assert tagged_figures({key: whole.replace('"terms": null', '"terms": "a"')}) == []
    before = whole.replace('"terms": null, ', "").replace('"error_needs": "", ', "")
    assert "terms" not in before
    assert "needs" not in before
    assert tagged_figures({key: before}) == [figure(1.0)], "of a version that kept neither"
    assert tagged_figures({key: whole.replace("false", "false").replace('"data"', "3")}) == []
