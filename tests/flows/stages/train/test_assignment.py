"""An assignment reaches a worker unchanged."""

import json

import pytest

from flows.stages.train.assignment import Assignment
from infra.errors import IntegrityError
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun


@pytest.fixture
def assignment(tiny_run: TinyRun) -> Assignment:
    plan = Plan(stage="train", format_version=1, settings={"seed": 3}, inputs={"dataset": "d"})
    output = Output(store=tiny_run.store, plan=plan, attempt=2)
    return Assignment(config=tiny_run.config.train, dataset=tiny_run.dataset, output=output)


def test_it_travels_as_json(assignment: Assignment) -> None:
    assert Assignment.from_json(json.loads(json.dumps(assignment.as_json()))) == assignment


def test_a_data_set_without_its_digest_is_refused(assignment: Assignment) -> None:
    values = assignment.as_json()
    del values["dataset"]["digest"]
    with pytest.raises(IntegrityError, match="is not a Dataset record"):
        Assignment.from_json(values)
