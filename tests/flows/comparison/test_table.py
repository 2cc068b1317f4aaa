"""A comparison lists what differs, compares with the first run, and gives the same as flat rows."""

import pytest

from flows.comparison.difference import Verdict
from flows.comparison.table import COLUMNS, compare_trials
from tests.flows.comparison.trials import BOUND, bound, distance, trial

FIRST = trial("a", bound([1, 2, 3, 4]), distance(3.0), train__dropout=0.1, train__images=5)
SECOND = trial("b", bound([2, 3, 4.5, 5]), distance(4.0, samples=9), train__dropout=0.2, train__images=5)
THIRD = trial("c", bound([1, 2, 3, 4]), train__dropout=0.1, train__images=5, train__new=1)


def test_only_what_differs_is_listed_and_the_rest_counted() -> None:
    compared = compare_trials([FIRST, SECOND, THIRD])
    assert compared.settings == {"train.dropout": [0.1, 0.2, 0.1], "train.new": [None, None, 1]}
    assert compared.equal_settings == 1
    assert compared.inputs == {"samples": ["a", "b", "c"]}
    assert compared.environment == {}


def test_each_run_is_compared_with_the_first() -> None:
    cells = compare_trials([FIRST, SECOND, THIRD]).figures
    found = {
        name: [cell.difference.verdict if cell.difference else None for cell in row] for name, row in cells.items()
    }
    assert found == {
        BOUND: [None, Verdict.BEYOND, Verdict.EQUAL],
        "fid": [None, Verdict.UNLIKE, None],
    }
    assert cells["fid"][2].measurement is None


def test_rows_are_flat_and_complete() -> None:
    rows = compare_trials([FIRST, SECOND]).rows()
    assert {tuple(row) for row in rows} == {COLUMNS}
    assert [(row["kind"], row["name"], row["run"]) for row in rows] == [
        ("setting", "train.dropout", "a"),
        ("setting", "train.dropout", "b"),
        ("input", "samples", "a"),
        ("input", "samples", "b"),
        ("figure", BOUND, "a"),
        ("figure", BOUND, "b"),
        ("figure", "fid", "a"),
        ("figure", "fid", "b"),
    ]
    paired, unlike = rows[5], rows[7]
    assert (paired["baseline"], paired["difference"], paired["paired_images"]) == ("a", 1.125, 4)
    assert paired["difference_standard_error"] == pytest.approx(0.125)
    assert paired["verdict"] == "beyond"
    assert (unlike["verdict"], unlike["interval"]) == ("unlike", None)
    assert unlike["reason"] == "N 512 against 9: a Fréchet distance is biased by N"


def test_chance_is_named_from_ten_judged_differences_on() -> None:
    others = [trial(str(number), bound([1, 2, 3, 4 + number])) for number in range(1, 11)]
    assert compare_trials([FIRST, *others[:9]]).caution == ""
    assert compare_trials([FIRST, *others]).caution.startswith("Of 10 differences with an interval, about 1 in 20")


def test_no_run() -> None:
    with pytest.raises(ValueError, match="no run"):
        compare_trials([])
