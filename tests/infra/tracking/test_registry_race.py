"""Runs that decide about the champion at the same time, on a registry in memory that stops before each call.

MLflow answers calls one after the other, so whatever several runs do at once is some order of their calls.
"""

import queue
import random
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from infra.record import MeasuredModel, ModelFigure, ModelFile, Registration
from infra.tracking.gate import figure_tags, judge
from infra.tracking.registry import CHAMPION, ModelRegistry

ERROR = 0.1


def figures(value: float) -> list[ModelFigure]:
    return [ModelFigure(name="fd", value=value, standard_error=ERROR, higher_is_better=False, conditions={})]


class Registry:
    """MLflow's registry in memory; version n + 1 has the nth distance, and version 1 is champion."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = {str(number): value for number, value in enumerate(values, 1)}
        self.tags = {number: figure_tags(figures(value)) for number, value in self.values.items()}
        self.aliases = {CHAMPION: "1"}
        self.before: Callable[[str], object] = len

    def decide(self, number: str) -> str:
        file = ModelFile(name="net", uri="/net", sha256=number)
        measured = MeasuredModel(file=file, figures=figures(self.values[number]))
        request = Registration(name="net", champion_by="", run_name=number, measured=measured)
        return ModelRegistry(self)._decide(request, number)[1]  # type: ignore[arg-type]

    @property
    def champion(self) -> str:
        return self.aliases[CHAMPION]

    @property
    def better_ones(self) -> list[str]:
        """The versions that the gate prefers to the champion."""
        best = figures(self.values[self.champion])
        return [number for number, value in self.values.items() if judge(figures(value), best, "").is_better]

    def get_registered_model(self, _: str) -> Any:
        self.before("get_registered_model")
        return SimpleNamespace(aliases=dict(self.aliases))

    def get_model_version(self, _: str, version: str) -> Any:
        self.before("get_model_version")
        return SimpleNamespace(tags=dict(self.tags[version]))

    def search_model_versions(self, _: str) -> list[Any]:
        self.before("search_model_versions")
        return [SimpleNamespace(version=int(number), tags=dict(tags)) for number, tags in self.tags.items()]

    def set_model_version_tag(self, _: str, version: str, key: str, value: str) -> None:
        self.before("set_model_version_tag")
        self.tags[version][key] = value

    def delete_model_version_tag(self, _: str, version: str, key: str) -> None:
        self.before("delete_model_version_tag")
        del self.tags[version][key]

    def set_registered_model_alias(self, _: str, alias: str, version: str) -> None:
        self.before("set_registered_model_alias")
        self.aliases[alias] = version


def interleaved(registry: Registry, numbers: Sequence[str], order: random.Random) -> dict[str, str]:
    """Let versions decide at once, one call at a time in this order; return their lines."""
    events: queue.Queue[bool] = queue.Queue()
    turns = {number: threading.Semaphore(0) for number in numbers}
    own = threading.local()
    lines: dict[str, str] = {}

    def before(_: str) -> None:
        events.put(False)
        turns[own.number].acquire()

    def decide(number: str) -> None:
        own.number = number
        turns[number].acquire()
        try:
            lines[number] = registry.decide(number)
        finally:
            events.put(True)

    registry.before = before
    threads = {number: threading.Thread(target=decide, args=(number,), daemon=True) for number in numbers}
    for thread in threads.values():
        thread.start()
    undecided = list(numbers)
    while undecided:
        number = order.choice(undecided)
        turns[number].release()
        if events.get(timeout=10):
            undecided.remove(number)
    registry.before = len
    return lines


@pytest.mark.parametrize("values", [(5.0, 1.0, 3.0), (5.0, 3.0, 1.0), (5.0, 3.0, 3.1)])
def test_a_run_that_decides_between_our_last_look_and_our_move_is_judged_too(values: tuple[float, ...]) -> None:
    registry = Registry(values)

    def overtaken(call: str) -> None:
        if call == "set_registered_model_alias":
            registry.before = len
            registry.decide("2")

    registry.before = overtaken
    line = registry.decide("3")
    assert registry.better_ones == []
    if registry.champion == "3":
        assert line == "champion of net: version 3 (was 1): fd 1 ± 0.1 below 5 ± 0.1"
    else:
        assert line.startswith("champion of net stays version 2; version 3 does not replace it: fd 3")


@pytest.mark.parametrize(
    "values",
    [(5.0, 3.0, 1.0), (5.0, 1.0, 3.0), (5.0, 3.0, 2.9), (5.0, 3.0, 2.8, 2.6), (5.0, 1.0, 5.1, 3.0)],
)
def test_whatever_the_order_of_calls_no_version_is_better_than_the_champion(values: tuple[float, ...]) -> None:
    numbers = [str(number) for number in range(2, len(values) + 1)]
    ends = set()
    for seed in range(80):
        registry = Registry(values)
        lines = interleaved(registry, numbers, random.Random(seed))
        assert set(lines) == set(numbers), seed
        assert registry.better_ones == [], (seed, registry.champion, lines)
        ends.add(registry.champion)
        assert lines[registry.champion].startswith(f"champion of net: version {registry.champion}"), (seed, lines)
        assert registry.decide(registry.champion).endswith(", as before")
    assert "1" not in ends


def test_the_first_versions_settle_on_one() -> None:
    for seed in range(40):
        registry = Registry((3.0, 3.1, 1.0))
        registry.aliases[CHAMPION] = ""
        interleaved(registry, ["1", "2", "3"], random.Random(seed))
        assert registry.better_ones == [], seed


def test_a_run_that_died_right_after_its_move_ends_its_work_when_it_is_repeated() -> None:
    registry = Registry((5.0, 3.0, 1.0))
    set_alias = registry.set_registered_model_alias

    def dies(*call: str) -> None:
        set_alias(*call)
        registry.set_registered_model_alias = set_alias  # type: ignore[method-assign]
        raise ConnectionError

    registry.set_registered_model_alias = dies  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        registry.decide("2")
    assert [registry.decide("2") for _ in range(2)] == ["champion of net: version 2, as before"] * 2
    registry.aliases[CHAMPION] = "1"
    assert registry.decide("2").endswith("was champion before and does not take it back")


def test_a_version_that_yielded_contends_no_more() -> None:
    """Versions 2 and 3 are alike, so 2 keeps the title; 4 is judged against 2, not against 3 as well."""
    registry = Registry((5.0, 3.0, 2.9, 2.65))
    for number in ("2", "3"):
        registry.decide(number)
    assert "ddpm.contends" not in registry.tags["3"]
    assert registry.decide("4") == "champion of net: version 4 (was 2): fd 2.65 ± 0.1 below 3 ± 0.1"
    assert registry.champion == "4"
