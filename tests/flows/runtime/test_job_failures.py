"""The failure of a job in the terms of `ddpm`."""

import pytest

from flows.runtime.handover import Outcome
from flows.runtime.job import failure
from infra.compute.jobs import JobEnd
from infra.errors import ConfigError, DdpmError, InputError, Interrupted, ResourceError, StorageError


@pytest.mark.parametrize(
    ("state", "code", "last", "outcome", "kind", "line"),
    [
        (
            "failed",
            3,
            "ddpm: x",
            InputError("is empty", item="source", stage="prepare"),
            InputError,
            "source: is empty",
        ),
        ("failed", 4, "ddpm: train: the bucket is away", None, StorageError, "job a-1: train: the bucket is away"),
        ("failed", 2, "ddpm: /r/spec.json: cannot be read", None, ConfigError, "every node must see the root /r"),
        (
            "failed",
            1,
            "ddpm: KeyError - a bug of ours; see /t",
            None,
            DdpmError,
            "a bug of ours; see /t on the cluster",
        ),
        ("failed", 127, "sh: 1: exec: ddpm: not found", None, ResourceError, "exit code 127 (sh: 1: exec: ddpm: not"),
        ("failed", -9, "", None, ResourceError, "job a-1: ended with exit code -9 () - run again"),
        ("failed", None, "", None, ResourceError, "job a-1: the node died - run again"),
        ("succeeded", 0, "", None, ResourceError, "has ended well and left no result - every node must see"),
    ],
)
def test_the_failure_of_a_job(
    state: str, code: int | None, last: str, outcome: DdpmError | None, kind: type[DdpmError], line: str
) -> None:
    end = JobEnd(state=state, code=code, message="the node died\nmore", last_line=last)
    handed = None if outcome is None else Outcome(result=None, seconds=1.0, error=outcome)
    error = failure("a-1", end, handed, "/r")
    assert type(error) is kind
    assert line in str(error)


@pytest.mark.parametrize(("state", "code"), [("stopped", None), ("failed", 143), ("failed", 130)])
def test_a_job_that_somebody_stopped_interrupts_its_run(state: str, code: int | None) -> None:
    error = failure("a-1", JobEnd(state=state, code=code, message=""), None, "/r")
    assert isinstance(error, Interrupted)
    assert (error.code, error.__notes__) == (143, ["the job a-1 was stopped"])
