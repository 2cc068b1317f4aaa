"""MLflow's own calls about figures, which may change on a run that is there: MLflow shows the value that came last.

Of several points MLflow shows the one with the largest step, time and value, in this order. So a changed figure needs a
later point, and a repetition writes none.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric

_BATCH = 1000


class Point(NamedTuple):
    """A point of a figure; of two, MLflow shows the larger one.

    Attributes:
        step: Its step.
        time_ms: Its time in milliseconds since 1970.
        value: Its value.
    """

    step: int
    time_ms: int
    value: float


def log_metrics(client: MlflowClient, run: str, metrics: Sequence[Metric]) -> None:
    """Log points to a run, as many at a time as MLflow takes."""
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run, metrics=metrics[start : start + _BATCH])


def log_figures(client: MlflowClient, run: str, figures: Mapping[str, float], step: int = 0) -> None:
    """Log figures to a run.

    Args:
        client: MLflow's client.
        run: The run's ID.
        figures: Their values by name.
        step: Their step in MLflow's charts; a figure that has a later one keeps that.
    """
    stored = client.get_run(run)
    shown = stored.data.metrics
    last = {name: _last(client.get_metric_history(run, name)) for name in changed(figures, shown)}
    new = new_points(figures, shown, last, stored.info.start_time, step)
    log_metrics(client, run, [Metric(name, one.value, one.time_ms, one.step) for name, one in new.items()])


def log_model_figures(
    client: MlflowClient, run: str, model: LoggedModel, figures: Mapping[str, float], data: Mapping[str, str]
) -> None:
    """Log figures to a model, and to the run that measured it.

    Args:
        client: MLflow's client.
        run: The run's ID.
        model: The model as it is stored.
        figures: Their values by name.
        data: MLflow's fields about the data set that they were measured on.
    """
    points = [one for one in model.metrics or () if one.key in figures and one.run_id == run]
    last = {name: _last([one for one in points if one.key == name]) for name in {one.key for one in points}}
    shown = {name: point.value for name, point in last.items()}
    new = new_points(figures, shown, last, client.get_run(run).info.start_time)
    of = {"model_id": model.model_id, **data}
    log_metrics(client, run, [Metric(name, one.value, one.time_ms, one.step, **of) for name, one in new.items()])


def changed(figures: Mapping[str, float], shown: Mapping[str, float]) -> list[str]:
    """Return the names of the figures of which another value is shown; NaN equals itself."""
    return [
        name
        for name, value in figures.items()
        if name in shown and not (value == shown[name] or (math.isnan(value) and math.isnan(shown[name])))
    ]


def new_points(
    figures: Mapping[str, float],
    shown: Mapping[str, float],
    last: Mapping[str, Point],
    started_ms: int,
    step: int = 0,
) -> dict[str, Point]:
    """Return the points to log by name: of figures that are not there yet, and later ones of those that have changed.

    Args:
        figures: The values by name.
        shown: The values that MLflow shows.
        last: The points of those that have changed.
        started_ms: The start of the run. It is the time of a first point rather than the clock's, so that a repetition
            is the same point.
        step: The step of the figures.
    """
    first = {name: Point(step, started_ms, value) for name, value in figures.items() if name not in shown}
    later = {
        name: Point(max(step, last[name].step), max(started_ms, last[name].time_ms + 1), figures[name])
        for name in changed(figures, shown)
    }
    return first | later


def _last(history: Sequence[Metric]) -> Point:
    return max(Point(one.step, one.timestamp, one.value) for one in history)
