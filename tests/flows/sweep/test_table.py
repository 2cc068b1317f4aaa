"""The best row is the smallest or largest, and its lead is judged as any difference is."""

import math

import pytest

from flows.comparison.difference import Verdict, difference
from flows.comparison.measurement import Measurement
from flows.sweep.table import make_row, make_table
from infra.errors import ConfigError
from tests.flows.comparison.trials import distance, trial
from tests.flows.sweep.rows import PATHS, distances, row

# The grid changes the training, and each row has one network.
OTHERS = "; other trainings of the same settings may differ, and more --seeds tell how far"


def precision(value: float, error: float) -> Measurement:
    return Measurement(name="precision", value=value, standard_error=error, terms=100)


def test_a_lead_beyond_the_interval() -> None:
    table = distances((5.0, 0.1), (3.0, 0.1), (4.0, 0.1))
    assert table.best == 1
    assert table.note == (
        "best by fid (smaller is better): train.learning_rate=2, 3.00 ± 0.10; its lead over train.learning_rate=3 is "
        "1.00 ± 0.14, beyond the interval" + OTHERS
    )
    apart = [each.difference for each in table.rows]
    assert apart[1] is None
    assert apart[0] == difference(distance(3.0, 0.1), distance(5.0, 0.1))
    assert [each and each.verdict for each in apart] == [Verdict.BEYOND, None, Verdict.BEYOND]


def test_a_lead_within_the_interval_names_how_many_may_be_as_good() -> None:
    table = distances((3.1, 0.1), (3.0, 0.1), (9.0, 0.1), (3.2, 0.1))
    assert table.best == 1
    assert table.note.endswith("is 0.10 ± 0.14, within the interval: 2 other rows may be as good" + OTHERS)
    assert "over train.learning_rate=1 is" in table.note


def test_larger_is_better_for_a_precision() -> None:
    rows = [row(1, precision(0.5, 0.01)), row(2, precision(0.9, 0.01))]
    table = make_table(PATHS, rows, ["precision"])
    assert table.best == 1
    assert "larger is better" in table.note
    assert "is 0.400 ± 0.014, beyond" in table.note


def test_without_an_error_nobody_can_say() -> None:
    table = distances((5.0, None), (3.0, None))
    assert table.best == 1
    assert table.note.endswith("is 2, and has no interval: more --seeds give one")


def test_a_tie() -> None:
    assert distances((3.0, None), (3.0, None)).note.endswith("is 0, a tie")


def test_unlike_values_have_no_best_row() -> None:
    rows = [row(1, distance(5.0, 0.1, samples=512)), row(2, distance(3.0, 0.1, samples=1024))]
    table = make_table(PATHS, rows, ["fid"])
    assert table.best is None
    assert table.note == "no row is best by fid: N 1,024 against 512: a Fréchet distance is biased by N"


def test_a_figure_that_is_not_finite_is_never_best() -> None:
    for value in (math.nan, -math.inf):
        assert distances((value, None), (3.0, 0.1)).best == 1


def test_the_first_figure_with_an_error_ranks() -> None:
    other = Measurement(name="kid", value=1.0, standard_error=0.1, terms=10)
    rows = [row(1, distance(3.0), other), row(2, distance(2.0), other)]
    assert make_table(PATHS, rows, ["fid", "kid"]).by == "kid"
    assert make_table(PATHS, rows, ["fid"]).by == "fid"
    assert make_table(PATHS, rows, ["fid", "kid"], "fid").by == "fid"


def test_rows_without_a_finished_run_stay_in_the_table() -> None:
    table = make_table(PATHS, [row(1), row(2, distance(3.0, 0.1)), row(3)], ["fid"])
    assert (len(table.rows), table.best) == (3, 1)
    assert table.note == "best by fid (smaller is better): train.learning_rate=2, 3.00 ± 0.10"
    assert make_table(PATHS, [row(1)], []).note == "no run is finished"


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("fd", "--by: no such figure: fd - choose one of fid"),
        ("memorised", "--by: no larger or smaller memorised is better"),
    ],
)
def test_a_ranking_figure_must_be_there_and_have_a_direction(by: str, words: str) -> None:
    rows = [row(1, distance(3.0, 0.1), Measurement(name="memorised", value=1.0))]
    with pytest.raises(ConfigError) as error:
        make_table(PATHS, rows, ["fid"], by)
    assert words in str(error.value)


def test_a_row_is_the_mean_over_its_seeds() -> None:
    trials = [trial(str(seed), distance(value), sample__seed=seed) for seed, value in enumerate((3.0, 4.0, 8.0))]
    made = make_row({PATHS[0]: 1}, 3, trials)
    assert (made.finished, made.planned) == (("0", "1", "2"), 3)
    assert made.measurements["fid"].value == 5.0
    assert made.measurements["fid"].standard_error == pytest.approx(math.sqrt(7 / 3))
    assert make_row({PATHS[0]: 1}, 3, trials[:1]).finished == ("0",)
    assert make_row({PATHS[0]: 1}, 3, []).finished == ()


def test_a_grid_of_the_samples_alone_has_no_other_trainings() -> None:
    rows = [
        make_row({"sample.num_steps": steps}, 1, [trial("a", distance(value, 0.1))])
        for steps, value in ((5, 1.0), (9, 3.0))
    ]
    assert make_table(["sample.num_steps"], rows, ["fid"]).note.endswith("beyond the interval")
