"""Ray's layers of exceptions, taken off."""

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.train import TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from infra.compute.ray_errors import first_line, lost_a_worker, plain_errors
from infra.errors import DivergedError, InputError, ResourceError


def task_error(cause: Exception) -> RayTaskError:
    return RayTaskError(function_name="f", traceback_str="traceback", cause=cause)


def test_ours_comes_out_whole() -> None:
    ours = InputError("is bad", item="x.png", remedy="mend it")
    with pytest.raises(InputError, match=r"x\.png: is bad - mend it") as caught, plain_errors("prepare"):
        raise task_error(ours).as_instanceof_cause()
    assert type(caught.value) is InputError


def test_ours_comes_out_of_a_failed_group() -> None:
    failed = TrainingFailedError("failed")
    failed.worker_failures = {0: DivergedError("nan", item="step 3")}
    with pytest.raises(DivergedError, match="step 3: nan"), plain_errors("train"):
        raise failed


def test_a_bug_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), plain_errors("train"):
        raise task_error(ZeroDivisionError("division by zero")).as_instanceof_cause()


def test_a_dead_worker_is_a_shortage() -> None:
    assert lost_a_worker(RayActorError())
    with pytest.raises(ResourceError, match="train: lost its workers"), plain_errors("train"):
        raise RayActorError()


def test_a_worker_found_dead_by_its_health_check() -> None:
    """Ray Train may notice first that the worker does not answer; the actor's own error is inside that one."""
    failed = TrainingFailedError("failed")
    failed.worker_failures = {0: WorkerHealthCheckFailedError("no answer", failure=RayActorError())}
    assert lost_a_worker(failed)


@pytest.mark.parametrize("failure", [OutOfMemoryError("took too much"), RayActorError(error_msg="took too much")])
def test_a_worker_of_a_group_that_died(failure: Exception) -> None:
    failed = WorkerGroupError("rank 0: died", {0: failure})
    assert lost_a_worker(failed)
    with pytest.raises(ResourceError, match=r"train: lost its workers .*took too much"), plain_errors("train"):
        raise failed


GLOO = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:23441: Connection reset by peer"
)


@pytest.mark.parametrize(
    ("failure", "lost"),
    [
        (RuntimeError(GLOO), True),
        (task_error(RuntimeError(GLOO)).as_instanceof_cause(), True),
        (RuntimeError("ncclRemoteError: A call failed possibly due to a network error"), True),
        (RuntimeError("expected a tensor"), False),
        (ValueError("Connection reset by peer"), False),
    ],
)
def test_a_worker_whose_peer_is_gone(failure: Exception, lost: bool) -> None:
    """Seen where a node was lost: the other rank's backward pass ended with gloo's message before Ray knew."""
    assert lost_a_worker(WorkerGroupError("rank 1: failed", {1: failure})) is lost


def test_a_worker_whose_peer_ended_by_an_error_of_ours_is_not_lost() -> None:
    """One rank has too little memory; the connection that it leaves breaks the others' collective."""
    short = ResourceError("memory ran out", stage="train", remedy="set train.microbatch")
    failures = {0: RuntimeError(GLOO), 1: task_error(short).as_instanceof_cause()}
    failed = WorkerGroupError("rank 0 and 1: failed", failures)
    assert not lost_a_worker(failed), "else the group starts anew, and runs out of memory again"
    with pytest.raises(ResourceError, match=r"^train: memory ran out - set train\.microbatch$"), plain_errors("train"):
        raise failed


def test_what_is_not_rays_passes() -> None:
    with pytest.raises(KeyError), plain_errors("train"):
        raise KeyError("x")


def test_first_line() -> None:
    assert first_line(ValueError("a\nb")) == "a"
    assert first_line(ValueError()) == "ValueError"
