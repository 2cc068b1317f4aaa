"""How much of an output is done, in the unit of its progress."""

import pytest

from flows.missing import Amount, Missing, units_done
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore


@pytest.mark.parametrize(
    ("amount", "recorded", "done"),
    [
        (Amount(total=100, each=16), {"units": 3}, 48),
        (Amount(total=100, each=16), {"units": 7}, 100),
        (Amount(total=100), {"images": 40}, 40),
        (Amount(total=100), {"images": 128}, 100),
        (Amount(total=4, unit="units"), {"units": 3}, 3),
        (Amount(total=4, unit="units"), {}, 0),
    ],
)
def test_the_amount_that_is_done(amount: Amount, recorded: dict[str, int], done: int) -> None:
    assert amount.done(recorded) == done


def test_an_output_counts_its_units(tmp_path) -> None:
    output = Output(store=LocalStore(tmp_path), plan=Plan(stage="bake", format_version=1, settings={}, inputs={}))
    missing = Missing(output=output, goal={}, amount=Amount(total=5, each=2), recorded=lambda: units_done(output))
    assert missing.done == 0
    output.commit("units/000000", "bin", b"1", {})
    output.commit("units/000001", "bin", b"2", {})
    assert missing.done == 4
