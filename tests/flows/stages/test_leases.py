"""A stage that waited for another run of the same plan takes what that run has sealed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import infra.features.classifier
from flows.artifacts import Artifact
from flows.stage import Context, Progress
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.prepare.preparation import prepare
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from tests.conftest import TinyRun, revised

STAGES = ("prepare", "train", "sample", "evaluate")


@pytest.fixture
def stages(tiny_run: TinyRun) -> dict[str, Callable[[Context], Artifact]]:
    """Each stage with settings of which nothing is sealed yet."""
    config = tiny_run.config
    inputs = tiny_run.dataset, tiny_run.snapshot, tiny_run.samples
    other = {"seed": 7}
    return {
        "prepare": lambda c: prepare(config.prepare.model_copy(update={"holdout": 0.3}), c),
        "train": lambda c: train(config.train.model_copy(update=other | {"images": 64}), tiny_run.dataset, c),
        "sample": lambda c: sample(config.sample.model_copy(update=other), tiny_run.snapshot, c),
        "evaluate": lambda c: evaluate(config.evaluate.model_copy(update=other), *inputs, c),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_what_another_run_sealed_meanwhile_is_taken(
    tiny_run: TinyRun, stages: dict[str, Callable[[Context], Artifact]], stage: str
) -> None:
    held: list[str] = []
    others: list[Artifact] = []

    @contextmanager
    def lease(folder: str) -> Iterator[None]:
        held.append(folder)
        others.append(stages[stage](tiny_run.context))
        yield

    waiting = replace(tiny_run.context, lease=lease, on_progress=lambda _: pytest.fail("there was nothing left to do"))
    ours = stages[stage](waiting)
    assert ours == replace(others[0], reused=True)
    manifest = ours.manifest(tiny_run.store)
    assert held == [manifest.facts.get("outputs", {}).get("bound", manifest.folder)]
    sealed = replace(tiny_run.context, lease=lambda _: pytest.fail("what is sealed needs no lease"))
    assert stages[stage](sealed) == ours


@pytest.mark.parametrize("stage", STAGES)
def test_the_lease_is_held_until_the_seal(
    tiny_run: TinyRun, stages: dict[str, Callable[[Context], Artifact]], stage: str
) -> None:
    held, reported = False, []

    @contextmanager
    def lease(folder: str) -> Iterator[None]:
        nonlocal held
        held = True
        yield
        held = False
        assert list(tiny_run.store.list(f"{folder}/manifests"))

    def check(progress: Progress) -> None:
        # The last report comes when everything is sealed, and free for others.
        assert held or progress.done == progress.total
        reported.append(progress)

    assert not stages[stage](replace(tiny_run.context, lease=lease, on_progress=check)).reused
    assert reported


def test_the_classifier_has_a_lease_of_its_own(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 30)
    config = revised(tiny_run.config.evaluate, {"extractor": "classifier"})
    inputs = tiny_run.dataset, tiny_run.snapshot, tiny_run.samples
    held: list[str] = []

    @contextmanager
    def lease(folder: str) -> Iterator[None]:
        held.append(folder.split("/")[0])
        if held == ["classifier"]:
            evaluate(config, *inputs, tiny_run.context)
        yield

    ours = evaluate(config, *inputs, replace(tiny_run.context, lease=lease))
    assert (held, ours.reused) == (["classifier"], True), "the other run sealed the figures too"
