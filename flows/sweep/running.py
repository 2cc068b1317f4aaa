"""Running a sweep: its runs in processes of their own, and after each of them the table, the page and MLflow."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime

from flows.root import writing_locally
from flows.sweep.children import Child, Start, last_complaint, run_children, start_child
from flows.sweep.files import FOLDER, PAGE, lease_of, sweep_files, write_files
from flows.sweep.outcome import State, SweepRun, check_outcome
from flows.sweep.plan import leaders_first
from flows.sweep.record import SweepRecord
from flows.sweep.sweep import Sweep
from flows.sweep.table import figure_text
from flows.sweep.view import SweepView, view_of
from infra.errors import DdpmError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder

# The command that runs a run of a sweep from its file.
COMMAND = "sweep-run"
_CHANGED = "its record is not there: the source of images changed while the sweep ran"
_CONFLICT = 5


def run_sweep(
    sweep: Sweep,
    *,
    start: Start = start_child,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> SweepView:
    """Run the runs that are not finished; write the page and the table after each, and record them in MLflow.

    A run that fails is said, and the others go on.

    Args:
        sweep: The sweep.
        start: Starts the process of a run.
        around: Opened while runs work, such as a server that they share; not if all are finished.

    Returns:
        The sweep in words, also if runs failed; `check_outcome` raises for those.

    Raises:
        ConflictError: If another process runs a sweep of this name, and the settings forbid waiting.
        Interrupted: If this process is stopped; the runs at work are stopped too, and each saves.
    """
    with _alone(sweep):
        record = SweepRecord.open(sweep.plan, sweep.settings, sweep.store)
        _find_finished(sweep)
        record.start()
        record.adopt(sweep.finished_keys)
        try:
            if not all(run.is_finished for run in sweep.runs):
                with around():
                    _run(sweep, record, start)
        except BaseException:
            _stopped(sweep, record)
            raise
        table, _ = sweep.checked_table()
        record.close(table, _publish(sweep), {run.name: run.key for run in sweep.runs if run.is_finished})
    if record.complaint:
        sweep.say(f"{'tracking':<9} {record.complaint}")
    return view_of(sweep.plan, table, sweep.runs)


def _find_finished(sweep: Sweep) -> None:
    """Read the runs that are finished; if the settings ask for work on each run, none counts as finished."""
    total = len(sweep.runs)
    sweep.say(f"{'sweep':>9} {sweep.plan.name}: {len(sweep.plan.combinations)} combinations, {total} runs")
    sweep.say(f"{'':>9} logs in {sweep.folder}")
    if sweep.settings.force or sweep.settings.register_as:
        return
    for run in sweep.runs:
        if sweep.read(run):
            run.state = State.FOUND
    if found := len(sweep.finished_keys):
        sweep.say(f"{'':>9} {found} of them found finished")


def _stopped(sweep: Sweep, record: SweepRecord) -> None:
    """Record that the sweep has stopped; a second call does nothing."""
    if record.is_stopped:
        return
    for run in sweep.runs:
        run.state = State.STOPPED if run.state is State.RUNNING else run.state
    record.stop()  # first, because a store that hangs must not keep MLflow from learning it
    with suppress(DdpmError):  # the reason of the stop is the error to show
        _publish(sweep)


def _run(sweep: Sweep, record: SweepRecord, start: Start) -> None:
    """Run the runs that are not finished."""
    left = {run.name: run for run in _in_order(sweep) if not run.is_finished}
    total = len(sweep.runs)
    lines = {
        name: f"{f'{number}/{total}':>9} {sweep.words(run)}:"
        for number, (name, run) in enumerate(left.items(), total - len(left) + 1)
    }

    def begun(child: Child) -> None:
        left[child.name].state = State.RUNNING
        sweep.say(f"{lines[child.name]} begun as {child.name}")

    def ended(child: Child, code: int, seconds: float) -> None:
        run = left[child.name]
        run.end(code, last_complaint(child.log))
        try:
            if run.is_finished and not sweep.read(run):
                run.end(_CONFLICT, _CHANGED)
        except DdpmError as error:  # a store that is away; the same sweep finds the run finished later
            run.end(error.exit_code, f"it ended well, and its record cannot be read now: {error}")
        sweep.say(f"{lines[child.name]} {run.state_text} after {seconds:.0f} s{_figure(sweep, run)}")
        record.adopt(sweep.finished_keys)
        # The other runs go on; the page is written again after the next one, and at the end.
        try:
            _publish(sweep)
        except DdpmError as error:
            sweep.say(f"{'':>9} the page waits for the next run's end: {error}")

    children = [_child(sweep, run) for run in left.values()]
    run_children(
        children,
        sweep.choices.at_once,
        begun=begun,
        ended=ended,
        # Prefect's runner kills a cancelled run after 30 s, and a run may take longer than that to save.
        stopping=lambda: _stopped(sweep, record),
        say=sweep.say,
        start=start,
    )


def _figure(sweep: Sweep, run: SweepRun) -> str:
    """Return the figure of a run that ranks the sweep, in words; empty if it has none."""
    table, _ = sweep.checked_table()
    found = sweep.trials[run.name].measurements.get(table.by) if run.is_finished else None
    return "" if found is None else f"; {table.by} {figure_text(found)}"


def _in_order(sweep: Sweep) -> list[SweepRun]:
    """Return the runs in the order in which they start: that of the grid, unless several work at a time."""
    if sweep.choices.at_once == 1:
        return list(sweep.runs)
    by_plan = {id(run.planned): run for run in sweep.runs}
    return [by_plan[id(planned)] for planned in leaders_first([run.planned for run in sweep.runs])]


def page_of(sweep: Sweep) -> str:
    """Return the address of a sweep's page."""
    return f"{sweep.store.uri}/{FOLDER}/{sweep.plan.name}/{PAGE}"


def finish(sweep: Sweep) -> None:
    """Raise what is wrong with a sweep that has ended.

    Raises:
        DdpmError: If a run failed, or the ranking figure is not one of the runs'.
    """
    check_outcome(sweep.runs, f"the same command again runs them; logs are in {sweep.folder}")
    _, error = sweep.checked_table()
    if error is not None:
        raise error


@contextmanager
def _alone(sweep: Sweep) -> Iterator[None]:
    """Hold the sweep's name, so that two processes do not run the same runs and write one page."""
    holder = Holder.here(sweep.plan.name, datetime.now(UTC))
    with held(sweep.store, lease_of(sweep.plan.name), holder, on_wait=sweep.say, wait=sweep.settings.wait):
        yield


def _child(sweep: Sweep, run: SweepRun) -> Child:
    """Write the file of a run's settings, and return the command that runs it."""
    file = sweep.folder / f"{run.name}.json"
    # A time limit is that of the whole sweep, which stops its runs.
    settings = sweep.settings.model_copy(update={"name": "", "preset": sweep.plan.preset, "timeout": 0.0})
    values = {"config": run.planned.config.model_dump(mode="json"), "run": settings.model_dump(mode="json")}
    with writing_locally(sweep.store.uri):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values, indent=2), encoding="utf-8")
    return Child(name=run.name, arguments=[COMMAND, str(file)], log=file.with_suffix(".log"))


def _publish(sweep: Sweep) -> Mapping[str, bytes]:
    table, _ = sweep.checked_table()
    files = sweep_files(sweep.plan, table, sweep.runs)
    write_files(sweep.plan.name, files, sweep.store)
    return files
