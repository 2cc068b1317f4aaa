"""The reason why an output is not sealed names what differs, as a user would set it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from flows.missing import Missing
from flows.recipe.reason import reason
from infra.errors import StorageError
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore

PLAN = Plan(stage="sample", format_version=4, settings={"num_steps": 5}, inputs={"snapshot": "ab" * 32})
USUAL = {"num_steps": 0, "eta": 0.0, "seed": 0}


@pytest.fixture
def missing(tmp_path: Path) -> Missing:
    output = Output(store=LocalStore(tmp_path), plan=PLAN)
    return Missing(output=output, goal={"count": 24}, amount=None, recorded=dict)


def begin(missing: Missing, **more: object) -> str:
    other = replace(missing.output, plan=replace(PLAN, **more))
    other.begin({})
    return other.folder


def test_nothing_there(missing: Missing) -> None:
    assert reason(missing, "sample", USUAL) == "there is no other below this root"


def test_settings(missing: Missing) -> None:
    folder = begin(missing, settings={"eta": 1.0})
    expected = f"unlike {folder}: sample.eta 1.0 there, 0.0 here, sample.num_steps 0 there, 5 here"
    assert reason(missing, "sample", USUAL) == expected


def test_inputs(missing: Missing) -> None:
    folder = begin(missing, inputs={"snapshot": "cd" * 32})
    assert reason(missing, "sample", USUAL) == f"unlike {folder}: the network cdcdcdcd there, abababab here"


def test_an_input_that_is_only_there(missing: Missing) -> None:
    folder = begin(missing, inputs=PLAN.inputs | {"initial": "ef" * 32})
    assert reason(missing, "sample", USUAL) == f"unlike {folder}: the network to start from only there"


def test_another_release(missing: Missing) -> None:
    folder = begin(missing, format_version=3)
    assert reason(missing, "sample", USUAL) == f"unlike {folder}: another release made it"


def test_it_says_of_how_many_the_nearest_is_if_not_all_were_read(
    missing: Missing, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin(missing, settings={"num_steps": 4})
    (tmp := LocalStore(missing.output.store.root)).put_if_absent("sample/zz/plan.json", b"")  # type: ignore[attr-defined]
    os.utime(tmp.root / "sample" / "zz", (1000, 1000))
    monkeypatch.setattr("infra.outputs.similar._MOST_PLANS", 1)
    said = reason(missing, "sample", USUAL)
    assert said == f"unlike {folder}: sample.num_steps 4 there, 5 here (the nearest of 1 that were read, of 2)"
    monkeypatch.setattr("infra.outputs.similar._MOST_SECONDS", -1.0)
    assert reason(missing, "sample", USUAL) == "no other is known: of 2 below this root, 0 were read"


def test_a_store_that_cannot_be_listed(missing: Missing, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, __: str) -> list[str]:
        raise StorageError("no answer")

    monkeypatch.setattr(LocalStore, "newest_folders", fail)
    assert reason(missing, "sample", USUAL) == "nothing is known of others, as the store did not answer"


def test_begun(missing: Missing) -> None:
    begin(missing)
    assert reason(missing, "sample", USUAL) == "it was begun and is not sealed"
    assert reason(missing, "evaluate", USUAL) == "sample: it was begun and is not sealed"


def test_another_goal(missing: Missing) -> None:
    begin(missing)
    for count in (8, 16, 32):
        missing.output.seal({"count": count}, [], {})
    assert reason(missing, "sample", USUAL) == "sample.count 16 is sealed, 24 is asked for"
    fewer = replace(missing, goal={"count": 4})
    assert reason(fewer, "sample", USUAL) == "sample.count 32 is sealed, 4 is asked for"


def test_force(missing: Missing) -> None:
    begin(missing)
    missing.output.seal({"count": 24}, [], {})
    anew = replace(missing, output=replace(missing.output, attempt=1))
    assert reason(anew, "sample", USUAL) == "it is computed anew beside what is sealed"


def test_what_no_user_sets_is_not_named(missing: Missing) -> None:
    folder = begin(missing, settings={"num_steps": 5, "outputs": ["01", "23"]})
    assert reason(missing, "sample", USUAL) == f"unlike {folder}: it rests on other outputs"
