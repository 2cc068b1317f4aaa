"""Reads what is below a root: listings first, then the small records, several at a time, within a stated time."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from flows.inventory.inventory import Inventory, StoredJob, StoredRun
from flows.inventory.output import FOLDER as OUTPUT_FOLDER
from flows.inventory.output import PLAN, SealedGoal, Size, StoredOutput, parse_plan
from flows.root import resolve_root
from flows.run_record import BEGUN, RECORD, begun_settings, parse_record, record_path
from flows.run_record import FOLDER as REPORTS
from flows.runtime.handover import FOLDER as JOBS
from flows.runtime.handover import OUTCOME
from flows.stages.table import STAGES
from infra.errors import InputError, IntegrityError
from infra.outputs.followers import followers
from infra.outputs.lease_holder import Holder, parse_holder
from infra.outputs.lease_watch import SILENCE_S, Watch
from infra.outputs.manifest import parse_manifest
from infra.outputs.presence import LEASES, ended_runs, silent_leases
from infra.storage.open import open_store
from infra.storage.store import Store, StoredObject

# The folder of the figures of `ddpm score`, which is no stage.
SCORE = "score"
# The folders of objects in flight: of the local store, and of the probe of a store on S3.
IN_FLIGHT = (".tmp", ".probe")
READERS = 16

T = TypeVar("T")


def output_folders() -> list[str]:
    """Return the folders below a root that hold outputs: those of all stages and of `ddpm score`."""
    return [*(folder for stage in STAGES for folder in stage.folders), SCORE]


def open_reader(root: str, seconds: float | None = None) -> "Reader":
    """Return a reader of a root.

    Args:
        root: A folder or s3://bucket/prefix; if it is empty, DDPM_ROOT, else ./ddpm-runs.
        seconds: The time for reading; None for no bound.

    Raises:
        InputError: If there is no such folder.
    """
    store = open_store(resolve_root(root))
    if not store.uri.startswith("s3://") and not Path(store.uri).is_dir():
        raise InputError(
            "is not there", item=f"root {store.uri}", remedy="`ddpm run` makes it, or choose another --root"
        )
    return Reader(store=store, seconds=seconds)


@dataclass(kw_only=True)
class Reader:
    """Reads below a root until a time is over.

    Attributes:
        store: The root.
        seconds: The time; None for no bound, for callers that must not miss anything.
        clock: Returns seconds, for the bound.
        left_out: What was not read, in words; empty if everything was.
    """

    store: Store
    seconds: float | None = None
    clock: Callable[[], float] = time.monotonic
    left_out: str = ""
    _until: float = field(init=False)
    _me: Holder = field(init=False)

    def __post_init__(self) -> None:
        self._until = float("inf") if self.seconds is None else self.clock() + self.seconds
        self._me = Holder.here("ddpm", datetime.now(UTC))

    @property
    def is_over(self) -> bool:
        """True if the time is over."""
        return self.clock() > self._until

    def inventory(self) -> Inventory:
        """Return everything below the root."""
        finished, outputs = self.finished_runs(), self.outputs()
        leftovers = [] if self.is_over else [*self._in_flight(), *self._ended()]
        jobs = [] if self.is_over else self._jobs()
        damage = [line for run in finished if (line := run.damage)]
        damage += [line for output in outputs for line in output.damage]
        by_folder = {output.folder: output for output in outputs}
        return Inventory(
            runs=self.with_begun_runs(finished, outputs),
            outputs=by_folder,
            leftovers=leftovers,
            jobs=jobs,
            damage=damage,
            left_out=self.left_out,
        )

    def finished_runs(self) -> list[StoredRun]:
        """Return the runs that have a record, whole or damaged, by name."""
        changed_s: dict[str, float] = {}
        for one in self._listed(REPORTS):
            parts = one.name.split("/")
            if len(parts) == len((REPORTS, "name", RECORD)) and parts[-1] == RECORD:
                changed_s[parts[1]] = one.changed_s
        read = self._each(sorted(changed_s), self._run, "runs")
        return [replace(run, changed_s=changed_s[run.name]) for run in read if run is not None]

    def with_begun_runs(self, finished: Sequence[StoredRun], outputs: Iterable[StoredOutput] = ()) -> list[StoredRun]:
        """Return the finished runs and those that have begun, by name; a finished run may be at work again."""
        held = self._each(self._leases(), lambda name: (self._who(name), self._holder(name)), "leases of runs")
        at_work = {one[0]: one[1] for one in held if one is not None and all(one)}
        for output in outputs:
            if output.holder:
                at_work.setdefault(output.holder.partition(" on host ")[0], output.holder)
        notes = {one.name.removeprefix(f"{BEGUN}/").removesuffix(".json"): one for one in self._listed(BEGUN)}
        known = {run.name for run in finished}
        fresh = [name for name in notes if name not in known]
        settings = self._each(fresh, lambda name: begun_settings(name, self.store), "notes of unfinished runs")
        begun = [
            StoredRun(name=name, changed_s=notes[name].changed_s, settings=found or {}, note=notes[name])
            for name, found in zip(fresh, settings, strict=True)
        ]
        return sorted(
            (replace(run, holder=at_work.get(run.name, "")) for run in (*finished, *begun)), key=lambda run: run.name
        )

    def outputs(self) -> list[StoredOutput]:
        """Return the outputs, by folder."""
        sizes: dict[str, Size] = {}
        for top in output_folders():
            for one in self._listed(top):
                folder = "/".join(one.name.split("/")[:2])
                if OUTPUT_FOLDER.fullmatch(folder):
                    inside = one.name.removeprefix(f"{folder}/")
                    sizes.setdefault(folder, Size()).add(one.name, inside, one.bytes, one.changed_s)
        # A folder with neither a plan nor a manifest is not one of ours, unless a lease is all that it holds.
        sizes = {name: size for name, size in sizes.items() if size.has_plan or size.manifests or not size.files}
        latest: dict[str, int] = {}
        for folder, size in sizes.items():
            place = OUTPUT_FOLDER.fullmatch(folder)
            assert place is not None, "only folders of outputs are kept above"
            if size.has_plan:
                plan = f"{place['stage']}/{place['key']}"
                latest[plan] = max(latest.get(plan, 0), int(place["attempt"] or 0))

        def read(folder: str) -> StoredOutput:
            output = self.output(folder, sizes[folder])
            return replace(output, is_superseded=output.attempt < latest.get(f"{output.stage}/{output.key}", 0))

        return [output for output in self._each(sorted(sizes), read, "outputs") if output is not None]

    def output(self, folder: str, size: Size) -> StoredOutput:
        """Read an output's plan, manifests and lease."""
        damage, sealed = [], []
        plan = None
        if size.has_plan:
            plan = parse_plan(self._read(f"{folder}/{PLAN}"), folder)
            if plan is None:
                damage.append(f"{folder}/{PLAN}: is damaged, or of another output")
        elif size.files:
            damage.append(f"{folder}/{PLAN}: is missing")
        for name in size.manifests:
            try:
                manifest = parse_manifest(self._read(name), item=name)
                if manifest.folder != folder:
                    raise IntegrityError("is of another output", item=name)
                sealed.append(SealedGoal.of(manifest))
            except (IntegrityError, KeyError, TypeError) as error:
                damage.append(str(error) if isinstance(error, IntegrityError) else f"{name}: lacks {error}")
        holder = self._holder(f"{folder}/lease") if size.leases else ""
        return StoredOutput(
            folder=folder, size=size, plan=plan, sealed=tuple(sealed), damage=tuple(damage), holder=holder
        )

    def _run(self, name: str) -> StoredRun:
        try:
            return StoredRun(name=name, record=parse_record(self.store.read(record_path(name)), name))
        except FileNotFoundError:
            return StoredRun(name=name, damage=f"{record_path(name)}: was removed while it was read")
        except IntegrityError as error:
            return StoredRun(name=name, damage=str(error))

    def _leases(self) -> list[str]:
        """Return the leases of runs by which equal ones wait for each other."""
        if self.is_over:
            self._leave_out("the leases of runs were not read")
            return []
        names = {name.rpartition("/")[0] for name in self.store.list(LEASES)}
        return sorted(name for name in names if name.endswith("/lease"))

    def _who(self, lease: str) -> str:
        """Return the name of the run that holds a lease; empty if that is not known."""
        objects = self.store.list(lease)
        holder = parse_holder(self._read(objects[-1])) if objects else None
        return holder.who if holder else ""

    def _holder(self, lease: str) -> str:
        return Watch(self.store, lease, SILENCE_S, since_put=True).look(self._me)

    def _in_flight(self) -> Iterator[StoredObject]:
        for folder in IN_FLIGHT:
            yield from self.store.objects(folder)

    def _ended(self) -> list[StoredObject]:
        """Return the announcements of runs of this machine that were killed, and the leases of lost machines."""
        silent = silent_leases(self.store)
        names = {*ended_runs(self.store)} - {one.name for one in silent}
        return [*silent, *(one for one in self.store.objects(LEASES) if one.name in names)]

    def _jobs(self) -> list[StoredJob]:
        """Return the files of jobs, by folder; there may be several of one id."""
        found: dict[str, list[StoredObject]] = {}
        for one in self._listed(JOBS):
            found.setdefault(one.name.rpartition("/")[0], []).append(one)
        ids = sorted({folder.split("/")[1] for folder in found})
        lines = dict(zip(ids, self._each(ids, self._follower, "followers of jobs"), strict=True))
        return [
            StoredJob(
                folder=folder,
                objects=objects,
                has_ended=any(one.name == f"{folder}/{OUTCOME}" for one in objects),
                follower=lines[folder.split("/")[1]] or "",
            )
            for folder, objects in sorted(found.items())
        ]

    def _follower(self, job: str) -> str:
        return next(iter(followers(self.store, job, self._me, SILENCE_S)), "")

    def _read(self, name: str) -> bytes:
        with suppress(FileNotFoundError):
            return self.store.read(name)
        return b""

    def _listed(self, folder: str) -> Iterator[StoredObject]:
        for number, one in enumerate(self.store.objects(folder)):
            if number % 1000 == 0 and self.is_over:
                self._leave_out(f"the listing of {folder}/ was not finished")
                return
            yield one

    def _each(self, names: Sequence[str], read: Callable[[str], T], noun: str) -> list[T | None]:
        """Read several at a time, in order; None for those that the time did not suffice for."""

        def within(name: str) -> T | None:
            return None if self.is_over else read(name)

        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(within, names))
        if missed := sum(one is None for one in found):
            self._leave_out(f"{missed:,} of {len(names):,} {noun} were not read")
        return found

    def _leave_out(self, words: str) -> None:
        self.left_out = "; ".join([*([self.left_out] if self.left_out else []), words])
