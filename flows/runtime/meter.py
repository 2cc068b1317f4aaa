"""The meter of an attempt at a stage: it measures the cost, and keeps it on record while the work goes on."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from flows.artifacts import Artifact
from flows.cost import StageCost, sealed_bytes, stage_cost
from flows.missing import Missing
from flows.stage import Progress
from infra.compute.occupancy import Occupancy
from infra.errors import DdpmError, StorageError
from infra.outputs.costs import FAILED, SEALED, STOPPED, Attempt, Costs
from infra.storage.store import Store

_LOGGER = logging.getLogger(__name__)
_BEAT_S = 20.0
_LAST_BEAT_S = 5.0


@dataclass(kw_only=True)
class Meter:
    """Measures an attempt at a stage. A record that cannot be written costs a warning and nothing else.

    Attributes:
        store: The store of all outputs.
        about: The attempt before its work.
        occupancy: Counts the workers of the run.
        run: Returns the run's name, which may be known only after the start.
        clock: Returns seconds from any origin.
        beat_s: The time between two records, in seconds.
    """

    store: Store
    about: Attempt
    occupancy: Occupancy
    run: Callable[[], str] = str
    clock: Callable[[], float] = time.monotonic
    beat_s: float = _BEAT_S
    _counts: list[Progress] = field(default_factory=list, init=False)
    _waited_s: float = field(default=0.0, init=False)
    _data_wait_s: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _name: str = field(default="", init=False)
    _output: str = field(default="", init=False)
    _thread: threading.Thread = field(init=False)
    _last: Attempt | None = field(default=None, init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._began_s, self._driver_s = self.clock(), time.process_time()
        self._held, self._retries = self.occupancy.seconds(), self.occupancy.retries
        self._thread = threading.Thread(target=self._beat, name=f"cost of {self.about.stage}", daemon=True)

    @property
    def costs(self) -> Costs:
        """The records of the work that this is an attempt at."""
        return Costs(store=self.store, stage=self.about.stage, work=self.about.work)

    def add_input(self, digest: str) -> None:
        """Add an input that is known only after the start, before the work begins."""
        if digest not in self.about.inputs:
            self.about = replace(self.about, inputs=(*self.about.inputs, digest))

    def hear(self, progress: Progress) -> None:
        """Take in the stage's progress."""
        # Each pool of units has a count of its own; a stage's images are one count, wherever it begins.
        if self._counts and (progress.unit != "units" or _goes_on(self._counts[-1], progress)):
            self._counts[-1] = progress
        else:
            self._counts.append(progress)
        before, last = self._data_wait_s
        if progress.data_wait_s is not None:
            # A group of workers that was started again counts from 0.
            self._data_wait_s = (before + last if progress.data_wait_s < last else before, progress.data_wait_s)

    def note(self, missing: Sequence[Missing]) -> None:
        """Note the folder of the stage's own output, if it is among the missing ones."""
        own = [one.output.folder for one in missing if one.output.plan.stage == self.about.stage]
        self._output = own[0] if own else self._output

    @contextlib.contextmanager
    def waiting(self, lease: AbstractContextManager[object]) -> Iterator[None]:
        """Enter a lease, and count the wait for it as no part of the attempt."""
        began_s = self.clock()
        with lease:
            self._waited_s += self.clock() - began_s
            yield

    def begin(self) -> None:
        """Put the first record as the work begins, and renew it from now on; a second call does nothing."""
        if self._name:
            return
        with self._tolerant():
            self._name = self.costs.claim(self.attempt())
            self._thread.start()

    def end(self, artifact: object = None, error: BaseException | None = None) -> None:
        """Have the last record written, within some seconds, unless no work was done or the store is away.

        Args:
            artifact: The sealed output, if the stage sealed one.
            error: The failure, if the stage failed.
        """
        if not self._name or self._ended.is_set():
            return
        if not isinstance(error, StorageError):
            self._last = replace(self.attempt(), outcome=_outcome(error))
            if isinstance(artifact, Artifact):
                with self._tolerant():
                    manifest = artifact.manifest(self.store)
                    size = sealed_bytes(manifest, self.store)
                    self._last = replace(self._last, output=manifest.folder, output_bytes=size)
        self._ended.set()
        self._thread.join(_LAST_BEAT_S)

    def attempt(self) -> Attempt:
        """Return the attempt as it is now; from any thread."""
        (cpu_s, gpu_s), (cpu_before, gpu_before) = self.occupancy.seconds(), self._held
        counts = list(self._counts)
        return replace(
            self.about,
            run=self.run(),
            output=self._output,
            unit=counts[-1].unit if counts else "",
            start=sum(count.start for count in counts),
            done=sum(count.done for count in counts),
            wall_s=round(self.clock() - self._began_s - self._waited_s, 3),
            cpu_s=round(cpu_s - cpu_before, 3),
            gpu_s=round(gpu_s - gpu_before, 3),
            driver_cpu_s=round(time.process_time() - self._driver_s, 3),
            data_wait_s=round(sum(self._data_wait_s), 3),
            retries=self.occupancy.retries - self._retries,
        )

    def cost(self, artifact: Artifact, goal: Mapping[str, int]) -> StageCost | None:
        """Return the cost of the sealed output, of all attempts; None if none is recorded."""
        own = {self._name: self._last} if self._last is not None else {}  # whose record a slow store may not have yet
        return stage_cost(self.costs.attempts(own), artifact.name.rpartition("/manifests/")[0], goal)

    def _beat(self) -> None:
        # The last record is this thread's too, so that a store that is away holds up no end of a run.
        while not self._ended.wait(self.beat_s):
            self._write(self.attempt())
        if self._last is not None:
            self._write(self._last)

    def _write(self, attempt: Attempt) -> None:
        with self._tolerant():
            self.store.replace(self._name, attempt.to_bytes())

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (DdpmError, OSError, RuntimeError) as error:  # the last if no thread can start
            _LOGGER.warning("the cost of %s is not recorded: %s", self.about.stage, error)


def _goes_on(before: Progress, after: Progress) -> bool:
    """Tell whether two reports are of one pool of units."""
    return (before.start, before.total) == (after.start, after.total) and before.done <= after.done


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return SEALED
    return FAILED if isinstance(error, Exception) else STOPPED
