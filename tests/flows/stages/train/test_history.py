"""Rows of the loss curve hold the steps since the one before; time on other things is no training time."""

import contextlib
from pathlib import Path

import pytest
import torch

from ddpm_core.train_step import StepResult
from flows.stages.train.history import History, HistoryReader, Purpose, TrainingTime, history_rows
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store

T = torch.tensor([0, 5, 10, 15])


@pytest.fixture
def output(tmp_path: Path) -> Output:
    store: LocalStore = open_store(str(tmp_path))
    return Output(store=store, plan=Plan(stage="train", format_version=1, settings={}, inputs={}))


def step(loss_sum: float, *, applied: bool = True) -> StepResult:
    losses = torch.full((4,), loss_sum / 4)
    return StepResult(losses=losses, loss_sum=losses.sum(), grad_norm=torch.tensor(1.0), applied=torch.tensor(applied))


def test_paused_time_does_not_count() -> None:
    now = [10.0]
    time = TrainingTime(lambda: now[0])
    now[0] = 13
    with time.on(Purpose.CHECKPOINT):
        now[0] = 50
        assert time.seconds() == 3, "nor while it lasts"
    assert time.seconds() == 3
    now[0] = 54
    assert time.seconds() == 7


def test_time_goes_on_after_a_failed_pause() -> None:
    now = [0.0]
    time = TrainingTime(lambda: now[0])
    with contextlib.suppress(OSError), time.on(Purpose.CHECKPOINT):
        now[0] = 5
        raise OSError("disk")
    now[0] = 6
    assert time.seconds() == 1


def test_rows_and_rates(output: Output) -> None:
    now = [0.0]
    history = History(output, torch.device("cpu"), 20, lambda: now[0])
    assert (history.loss(), history.images_per_second()) == (None, None), "before the first step"
    for loss, applied in ((8.0, True), (4.0, False)):
        now[0] += 2
        history.add(step(loss, applied=applied), T, 4)
    assert (history.loss(), history.images_per_second()) == (1.5, 2.0)
    history.commit(8, 1e-3, torch.tensor(float("nan")))
    assert history.loss() == 1.5, "a new row does not start the loss from one step alone"
    now[0] += 1
    history.add(step(2.0), T, 4)
    assert history.loss() == pytest.approx(14 / 12)
    history.commit(12, 2e-3, torch.tensor(3.0))
    assert history.loss() == 0.5, "older rows are forgotten"
    first, second = history_rows(output)
    assert (first["loss"], first["images_per_second"], first["skipped_steps"], first["grad_norm"]) == (1.5, 2, 1, None)
    assert (second["loss"], second["images_per_second"], second["images_seen"]) == (0.5, 4, 12)
    assert history.images_per_second() == pytest.approx(12 / 5)


def test_a_row_of_float16_has_the_scale_of_the_loss(output: Output) -> None:
    history = History(output, torch.device("cpu"), 20)
    for images, scale in ((4, None), (8, torch.tensor(32768.0))):
        history.add(step(1.0), T, 4)
        history.commit(images, 1e-3, torch.tensor(1.0), scale)
    first, second = history_rows(output)
    assert "loss_scale" not in first
    assert second["loss_scale"] == 32768


@pytest.mark.parametrize(
    "data", [b"", b"[{", b"\xff", b"{}", b"null", b'[{"loss": 1}]', b'[{"images_seen": null}]', b"[1]"]
)
def test_a_damaged_file_is_left_out_and_named_once(output: Output, data: bytes) -> None:
    """Such as an empty one after a power failure on a disk without barriers."""
    said: list[str] = []
    for images in (4, 12):
        output.store.put_if_absent(f"{output.folder}/history/{images:012d}.json", b'[{"images_seen": %d}]' % images)
    damaged = f"{output.folder}/history/{8:012d}.json"
    output.store.put_if_absent(damaged, data)
    reader = HistoryReader(output, said.append)
    assert reader.read_new() == [[{"images_seen": 4}], [{"images_seen": 12}]]
    assert (reader.read_new(), reader.rows()) == ([], [{"images_seen": 4}, {"images_seen": 12}])
    (line,) = said
    assert line.startswith(f"{damaged} is damaged")
