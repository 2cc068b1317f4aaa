"""Workers that train in this process, and what they left behind."""

from pathlib import Path
from typing import ClassVar

from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.worker import TrainingWorker
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun

STEP = 16


class Bench:
    """Runs workers into outputs of their own, all below one root that holds the data set."""

    known: ClassVar[dict[tuple[str, tuple[int, ...]], dict[str, bytes]]] = {}

    def __init__(self, tiny_run: TinyRun) -> None:
        self.store, self.dataset = tiny_run.store, tiny_run.dataset

    def output(self, name: str) -> Output:
        plan = Plan(stage="train", format_version=1, settings={"case": name}, inputs={})
        return Output(store=self.store, plan=plan)

    def worker(self, output: Output, config: TrainConfig, images: int, **more: object) -> TrainingWorker:
        config = config.model_copy(update={"images": images})
        worker = TrainingWorker(Assignment(config=config, dataset=self.dataset, output=output), **more)
        worker.resume()
        return worker

    def train(self, name: str, config: TrainConfig, *goals: int) -> Output:
        """Train to each goal in turn, or lay down what the same config and goals gave before."""
        output = self.output(name)
        files = self.known.setdefault((repr(config), goals), {})
        for file, data in files.items():
            self.store.put_if_absent(f"{output.folder}/{file}", data)
        if not files:
            self.train_anew(output, config, *goals)
            for file in self.store.list(output.folder):
                files[file.removeprefix(f"{output.folder}/")] = self.store.read(file)
        return output

    def train_anew(self, output: Output, config: TrainConfig, *goals: int) -> Output:
        for images in goals:
            self.worker(output, config, images).run()
        return output

    def path(self, output: Output, name: str) -> Path:
        record = output.record(name)
        assert record is not None
        return Path(self.store.uri) / output.folder / record.file


def snapshot(output: Output, images: int) -> str:
    record = output.record(f"{SNAPSHOTS}/{images:012d}")
    assert record is not None
    return record.sha256


def kept(output: Output, folder: str) -> list[int]:
    """Return the outputs by images seen; fails where bytes and records do not go together."""
    recorded = [int(name.rsplit("/", 1)[1]) for name in output.records(folder)]
    files = [name for name in output.store.list(f"{output.folder}/{folder}") if name.endswith(".safetensors")]
    assert [int(Path(name).name.split(".")[0]) for name in files] == recorded
    return recorded
