"""A store that fails when a test wants it to, and workers that commit to it."""

import time
from collections.abc import Callable
from dataclasses import replace

from flows.stages.train.config import TrainConfig
from flows.stages.train.saver import Saver
from flows.stages.train.worker import TrainingWorker
from infra.outputs.plan import Output
from infra.storage.store import Store
from tests.flows.stages.train.bench import STEP, Bench, snapshot

GOAL = 6 * STEP


class Faulty:
    """A store that asks before each change, which may raise."""

    def __init__(self, store: Store, before: Callable[[str, str], None]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        self._before("put", name)
        return self._store.put_if_absent(name, data)

    def delete(self, name: str) -> None:
        self._before("delete", name)
        self._store.delete(name)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._before("read", name)
        return self._store.read(name, start, length)


class Killed(BaseException):
    """Ends the saver where it is, and with it the run, as a kill of the process does."""


def worker_with(
    bench: Bench, output: Output, config: TrainConfig, before: Callable[[str, str], None]
) -> TrainingWorker:
    """A worker whose commits go through a faulty store, with short pauses; loading the data does not."""
    worker = bench.worker(output, config, GOAL, saver=Saver(pause=lambda _: time.sleep(0.005)))
    faulty = replace(output, store=Faulty(output.store, before))
    worker.output = worker.checkpoints._output = faulty
    return worker


def expected(bench: Bench, config: TrainConfig) -> str:
    return snapshot(bench.train("undisturbed", config, GOAL), GOAL)


def changes(bench: Bench, config: TrainConfig) -> int:
    seen: list[str] = []
    worker_with(bench, bench.output("counted"), config, lambda what, _: what == "read" or seen.append(what)).run()
    return len(seen)
