"""The table fits narrow and wide terminals, and loses no word."""

from io import StringIO

import pytest
from rich.console import Console

from flows.comparison.table import compare_trials
from flows.comparison.terminal import show
from flows.comparison.trial import mean_over_seeds
from flows.comparison.view import view_of
from tests.flows.comparison.trials import bound, distance, trial


@pytest.mark.parametrize("width", [80, 120])
def test_width(width: int) -> None:
    long = "digits-train.batch_size=64,train.dtype=float32,train.threads=1,+12-2e687e45"
    first = trial(long, bound([1, 2, 3, 4]), distance(3.0), train__dropout=0.1, sample__seed=0)
    again = trial("again", bound([1, 2, 3, 5]), distance(2.0), train__dropout=0.1, sample__seed=1)
    second = trial("b", bound([2, 3, 4.5, 5]), distance(4.0, samples=9), train__dropout=0.2, sample__seed=0)
    text = StringIO()
    view = view_of(compare_trials([mean_over_seeds([first, again]), second]))
    show(view, Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(text.getvalue().split())
    for cell in ("SD (seeds)", "minus A ± SE", "unlike [1]", "[1] N 512 against 9:", "train.dropout A 0.1; B 0.2"):
        assert cell in words
    assert "\x1b" not in text.getvalue()
    assert long in "".join(line.strip() for line in lines)
