"""A plan is one only in the folder that is named after its digest; an output's name tells stage, key and attempt."""

import json

import pytest

from flows.inventory.output import FOLDER, Size, StoredOutput, parse_plan
from infra.digests import canonical_json
from infra.outputs.plan import Plan

PLAN = Plan(stage="train", format_version=3, settings={"seed": 1}, inputs={"dataset": "ab" * 32})
HERE = f"train/{PLAN.key}"


@pytest.mark.parametrize("folder", [HERE, f"{HERE}.1", f"{HERE}.12"])
def test_a_plan_is_that_of_every_attempt(folder: str) -> None:
    assert parse_plan(canonical_json(PLAN.as_json()), folder) == PLAN


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        (canonical_json(PLAN.as_json()), f"train/{'0' * 20}"),
        (canonical_json(PLAN.as_json()), f"sample/{PLAN.key}"),
        (json.dumps(PLAN.as_json() | {"settings": {"seed": 2}}).encode(), HERE),
        (json.dumps({"stage": "train"}).encode(), HERE),
        (b"[]", HERE),
        (b"", HERE),
        (b"\xff", HERE),
    ],
)
def test_anything_else_is_none(data: bytes, folder: str) -> None:
    assert parse_plan(data, folder) is None


@pytest.mark.parametrize(
    "name",
    [f"train/{'0' * 19}", f"train/{'0' * 20}.0", f"train/{'g' * 20}", f"Train/{'0' * 20}", f"a/b/{'0' * 20}", ""],
)
def test_folders_of_other_names_are_no_outputs(name: str) -> None:
    assert FOLDER.fullmatch(name) is None


def test_leases_count_neither_as_size_nor_as_change() -> None:
    size = Size()
    for inside, length, changed_s in (
        ("plan.json", 10, 1.0),
        ("units/000000.json", 20, 2.0),
        ("units/000000.0123456789ab.bin", 300, 3.0),
        ("environments/000001.json", 5, 4.0),
        ("manifests/all.json", 40, 5.0),
        ("lease/000000000007.json", 1000, 9.0),
    ):
        size.add(f"{HERE}/{inside}", inside, length, changed_s)
    assert (size.bytes, size.files, size.records, size.changed_s) == (375, 5, 1, 5.0)
    assert size.manifests == [f"{HERE}/manifests/all.json"]
    assert size.leases == [f"{HERE}/lease/000000000007.json"]
    output = StoredOutput(folder=f"{HERE}.3", size=size, plan=PLAN)
    assert (output.stage, output.key, output.attempt, output.state) == ("train", PLAN.key, 3, "begun")
