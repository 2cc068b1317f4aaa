"""The driver's news about a training: the workers' beats and commits, passed on; each new point, sealed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from flows.given import Given
from flows.stage import Context, Progress
from flows.stages.train.checkpoints import latest_checkpoint
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import HistoryReader
from flows.stages.train.saver import PATIENCE_S
from flows.stages.train.sealing import point_images, seal, sealed_images
from flows.stages.train.watch.beside import BesideWatch
from flows.stages.train.watch.news import WatchNews
from flows.stages.train.watch.records import measured_places
from infra.errors import IntegrityError, ResourceError, StorageError
from infra.outputs.plan import Output

_POINTS_EVERY_S = 5.0


def said_once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that passes each line on once: workers and readers repeat theirs."""
    said: set[str] = set()

    def call(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return call


@dataclass(kw_only=True)
class TrainingNews:
    """Passes on the workers' commits and reports; at the end of its `with` block a worker beside the group ends.

    Attributes:
        output: The train output.
        context: Its listeners; `say` must pass a line on once, because workers and readers repeat theirs.
        config: The stage's settings.
        goal: Images of the run.
        initial: The network that training started from, if any.
        untrained: The labels of classes without a training image.
        clock: Returns seconds from any origin.
        beside: The watch by a worker beside the group, if there is one.
        start: Images seen when the attempt began.
        kept: Images seen by the last checkpoint, which survive if everything is killed.
    """

    output: Output
    context: Context
    config: TrainConfig
    goal: int
    initial: Given | None = None
    untrained: tuple[int, ...] = ()
    clock: Callable[[], float] = time.monotonic
    beside: BesideWatch | None = None
    start: int = field(init=False)
    kept: int = field(init=False)
    _history: HistoryReader = field(init=False)
    _watch: WatchNews = field(init=False)
    _checkpoints: int = field(default=0, init=False)
    _sealed: set[int] = field(init=False)
    _away_since_s: float | None = field(default=None, init=False)
    _last_points_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.start = self.kept = latest_checkpoint(self.output, self.goal)
        self._sealed = sealed_images(self.output)
        self._history = HistoryReader(self.output, self.context.say)
        self._history.read_new()
        self._watch = WatchNews(self.output, self.context, self.goal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.beside is not None:
            self.beside.end()

    def finish(self) -> None:
        """After the last step: have the last point measured within its bound, and seal and pass on what is new."""
        if self.beside is not None:
            self.on_beat({"phase": "measuring points", "images_seen": self.goal})
            try:
                self.beside.finish()
            except (StorageError, ResourceError) as error:  # figures alone are lost
                self.context.say(f"the points left have no figures: {error.cause}")
        self._look_at_points(at_end=True)

    def on_poll(self) -> int:
        """Pass on new rows of the history and seal new points; return a number that grows with every checkpoint.

        Rows and points do not count: training goes on from neither, and those by time come at new places each time.

        Raises:
            StorageError: If the store has been away for ten minutes; a shorter outage is the workers' to bridge.
        """
        try:
            self._look()
            self._away_since_s = None
        except (StorageError, ResourceError):
            now_s = self.clock()
            self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
            if now_s - self._away_since_s >= PATIENCE_S:
                raise
        return self._checkpoints

    def _look(self) -> None:
        now_s = self.clock()
        if self._last_points_s is None or now_s - self._last_points_s >= _POINTS_EVERY_S:
            self._last_points_s = now_s
            if self.beside is not None:
                self.beside.look()
            self._look_at_points()
        else:
            self._pass_on_rows()

    def _look_at_points(self, *, at_end: bool = False) -> None:
        self.seal_points(at_end=at_end)
        self._watch.look(self._history.rows())
        for line in self.beside.take_lines() if self.beside is not None else ():
            self.context.say(line)

    def _pass_on_rows(self) -> None:
        for rows in self._history.read_new():
            self.context.on_history(rows)

    def seal_points(self, *, at_end: bool = False) -> None:
        """Pass on new rows of the history, and seal each new point on the way as the goal of a shorter run.

        If points are measured, one is sealed with its figures, since what is sealed never changes; but not later than
        the next point, or the end, because it may have none.

        Args:
            at_end: Whether this is the end: no point waits any longer.
        """
        places = [images_seen for images_seen in point_images(self.output) if images_seen < self.goal]
        if self.config.watch_share and not at_end:
            settled = {*measured_places(self.output), *places[:-1]}
            places = [images_seen for images_seen in places if images_seen in settled]
        points = [images_seen for images_seen in places if images_seen not in self._sealed]
        self._pass_on_rows()  # after the points are listed: a point's rows are committed before it
        for images_seen in points:
            try:
                self._seal(images_seen)
            except IntegrityError as error:  # training needs no point
                self.context.say(f"the point at {images_seen:,} images is not sealed: {error}")
            self._sealed.add(images_seen)

    def _seal(self, images_seen: int) -> None:
        goal, rows = {"images": images_seen}, self._history.rows()
        seal(self.output, self.config, goal, images_seen, rows, self.initial, self.untrained, self.context.say)

    def on_beat(self, beat: dict[str, Any]) -> None:
        """Pass on a worker's beat; until the worker has resumed, the beat holds only its phase."""
        # If the latest checkpoint is damaged, a worker resumes from an earlier one.
        self.start = min(self.start, beat.get("resumed_at", self.start))
        kept = beat.get("kept", self.kept)
        self._checkpoints += kept > self.kept  # it falls if the latest one is damaged
        self.kept = kept
        for line in beat.get("lines", ()):
            self.context.say(line)
        progress = Progress(
            done=beat.get("images_seen", self.start),
            total=self.goal,
            start=self.start,
            kept=self.kept,
            loss=beat.get("loss"),
            rate=beat.get("images_per_second"),
            data_share=beat.get("data_share"),
            data_wait_s=beat.get("data_wait_s"),
            phase=beat["phase"],
        )
        self.context.on_progress(progress)
