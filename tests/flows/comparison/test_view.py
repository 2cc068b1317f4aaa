"""A comparison in words: letters for runs, numbered reasons, as many digits as the error allows."""

from flows.comparison.table import compare_trials
from flows.comparison.trial import mean_over_seeds
from flows.comparison.view import view_of
from tests.flows.comparison.trials import bound, distance, trial


def test_lines() -> None:
    first = trial("a", bound([1, 2, 3, 4]), distance(3.0), train__dropout=0.1)
    second = trial("b", bound([2, 3, 4.5, 5]), distance(4.0, samples=9), train__dropout=0.2)
    third = trial("c", bound([2, 3, 4.5, 4]), train__dropout=0.1)
    view = view_of(compare_trials([first, second, third]))
    assert view.runs == [("A", "a (baseline)"), ("B", "b"), ("C", "c")]
    assert view.parts[0] == ("Settings (0 others are equal)", [("train.dropout", "A, C 0.1; B 0.2")])
    assert [(line.figure, line.letter, line.value, line.difference, line.verdict) for line in view.figures] == [
        ("bits_per_dim_x", "A", "2.50 ± 0.65", "", ""),
        ("", "B", "3.62 ± 0.69", "+1.12 ± 0.12", "beyond, paired"),
        ("", "C", "3.38 ± 0.55", "+0.88 ± 0.31", "within, paired"),
        ("fid", "A", "3", "", ""),
        ("", "B", "4", "+1", "unlike [1]"),
        ("", "C", "not measured", "", ""),
    ]
    assert view.notes == ["N 512 against 9: a Fréchet distance is biased by N"]
    assert [line.beyond for line in view.figures] == [False, True, False, False, False, False]


def test_no_setting_differs() -> None:
    view = view_of(compare_trials([trial("a", train__dropout=0.1), trial("b", train__dropout=0.1)]))
    assert view.parts[0] == ("Settings: all 1 are equal", [])


def test_seeds() -> None:
    runs = [trial(name, distance(value), sample__seed=value) for name, value in (("a", 1.0), ("b", 2.0))]
    other = trial("c", distance(3.0), sample__seed=1.0, train__dropout=0.5)
    assert view_of(compare_trials([*runs, other])).remarks[-1] == (
        "Different in seeds alone: A, B. --seeds gives their mean and standard deviation."
    )
    merged = view_of(compare_trials([mean_over_seeds(runs), other]))
    assert (merged.figures[0].value, merged.figures[0].deviation) == ("1.50 ± 0.50", "0.71 (2)")
    assert not any("seeds alone" in line for line in merged.remarks)


def test_letters_go_on_after_z() -> None:
    view = view_of(compare_trials([trial(str(number)) for number in range(28)]))
    assert [letter for letter, _ in view.runs][24:] == ["Y", "Z", "AA", "AB"]
