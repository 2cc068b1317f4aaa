"""CSV keeps every digit and can be read back."""

import csv
from io import StringIO

from flows.comparison.sheet import as_csv
from flows.comparison.table import COLUMNS, compare_trials
from tests.flows.comparison.trials import bound, trial


def test_read_back() -> None:
    first = trial("a,b", bound([0.1, 0.2]), train__channel_mults=[1, 2], train__random_flip=True)
    second = trial('c"d', bound([0.1, 0.4]), train__channel_mults=[1], train__random_flip=False)
    compared = compare_trials([first, second])
    rows = list(csv.DictReader(StringIO(as_csv(compared.rows()))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["name"], row["run"], row["value"]) for row in rows[:4]] == [
        ("train.channel_mults", "a,b", "[1, 2]"),
        ("train.channel_mults", 'c"d', "[1]"),
        ("train.random_flip", "a,b", "true"),
        ("train.random_flip", 'c"d', "false"),
    ]
    last = rows[-1]
    assert float(last["value"]) == second.measurements["bits_per_dim_x"].value
    assert (last["reason"], rows[-2]["difference"]) == ("", "")
