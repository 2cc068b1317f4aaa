"""A comparison in words: the cells that the terminal and the page show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from flows.artifacts import number_text
from flows.comparison.difference import Difference, Verdict
from flows.comparison.measurement import Measurement
from flows.comparison.table import Cell, Comparison
from flows.comparison.trial import replicates

_DIGEST_DIGITS = 12
_DIGEST_LENGTH = 64
_LEGEND = (
    "±: one standard error. beyond: the difference exceeds 2 standard errors, or more if they rest on few images, "
    "blocks, groups or seeds (Student's t). paired: over the same held-out images."
)


@dataclass(frozen=True, kw_only=True)
class FigureLine:
    """A figure of one run, in words.

    Attributes:
        figure: The figure's name; empty below its first run.
        letter: The letter of the run.
        value: The value with its standard error.
        deviation: The standard deviation over seeds and their number; empty for a single seed.
        difference: The difference to the baseline with its standard error; empty for the baseline.
        verdict: Whether the difference exceeds its interval, or why this is not known.
        beyond: Whether it does.
    """

    figure: str
    letter: str
    value: str
    deviation: str
    difference: str
    verdict: str
    beyond: bool


@dataclass(frozen=True, kw_only=True)
class View:
    """A comparison in words.

    Attributes:
        runs: The letter and name of each run.
        parts: The title of each part that lists what differs, and its rows: a name, and the values by letters of runs.
        figures: The figures, line by line.
        notes: The reasons and remarks that the verdicts point to by number.
        remarks: Sentences below the table.
    """

    runs: Sequence[tuple[str, str]]
    parts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    figures: Sequence[FigureLine]
    notes: Sequence[str]
    remarks: Sequence[str]


def view_of(comparison: Comparison) -> View:
    """Put a comparison into words."""
    letters = [letter_of(number) for number in range(len(comparison.trials))]
    notes: list[str] = []
    lines = []
    for name, cells in comparison.figures.items():
        for number, (letter, cell) in enumerate(zip(letters, cells, strict=True)):
            lines.append(_line(name if number == 0 else "", letter, cell, notes))
    equal = comparison.equal_settings
    heading = f"Settings ({equal} others are equal)" if comparison.settings else f"Settings: all {equal} are equal"
    parts = {heading: comparison.settings, "Inputs": comparison.inputs, "Environment": comparison.environment}
    runs = [(letter, trial.name) for letter, trial in zip(letters, comparison.trials, strict=True)]
    if len(runs) > 1:
        runs[0] = (runs[0][0], f"{runs[0][1]} (baseline)")
    return View(
        runs=runs,
        parts=[
            (title, [(name, _by_value(letters, values)) for name, values in part.items()])
            for title, part in parts.items()
            if part or title == heading
        ],
        figures=lines,
        notes=notes,
        remarks=[line for line in (_LEGEND, comparison.caution, _seeds(comparison, letters)) if line],
    )


def _line(figure: str, letter: str, cell: Cell, notes: list[str]) -> FigureLine:
    measurement, apart = cell.measurement, cell.difference
    return FigureLine(
        figure=figure,
        letter=letter,
        value="not measured" if measurement is None else with_error(measurement.value, measurement.standard_error),
        deviation="" if measurement is None else _deviation(measurement),
        difference="" if apart is None else difference_text(apart),
        verdict="" if apart is None else _verdict(apart, notes),
        beyond=apart is not None and apart.verdict == Verdict.BEYOND,
    )


def _deviation(measurement: Measurement) -> str:
    if measurement.deviation is None:
        return ""
    return f"{number_text(measurement.deviation, measurement.standard_error)} ({measurement.seeds})"


def difference_text(apart: Difference) -> str:
    """Return a difference with its sign and its standard error, such as `+0.5 ± 0.2`."""
    text = with_error(apart.value, apart.standard_error)
    return f"+{text}" if apart.value > 0 else text


def with_error(value: float, error: float | None) -> str:
    """Return a value with its standard error, such as `3.10 ± 0.12`."""
    return number_text(value, error) + ("" if error is None else f" ± {number_text(error, error)}")


def _verdict(apart: Difference, notes: list[str]) -> str:
    text = "no SE" if apart.verdict == Verdict.NO_INTERVAL else apart.verdict.value
    if apart.paired and apart.verdict in (Verdict.BEYOND, Verdict.WITHIN):
        text += ", paired"
    note = apart.unlike or apart.remark
    if not note or apart.verdict == Verdict.EQUAL:
        return text
    if note not in notes:
        notes.append(note)
    return f"{text} [{notes.index(note) + 1}]"


def _by_value(letters: Sequence[str], values: Sequence[Any]) -> str:
    """Return the values with the runs that have them, such as "A, C 0.0002; B 0.001"."""
    owners: dict[str, list[str]] = {}
    for letter, value in zip(letters, values, strict=True):
        owners.setdefault(_setting(value), []).append(letter)
    return "; ".join(f"{', '.join(some)} {text}" for text, some in owners.items())


def _setting(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_DIGEST_DIGITS] if len(text) == _DIGEST_LENGTH else text


def _seeds(comparison: Comparison, letters: Sequence[str]) -> str:
    by_name = {trial.name: letter for trial, letter in zip(comparison.trials, letters, strict=True)}
    groups = [group for group in replicates(comparison.trials) if len(group) > 1]
    if not groups:
        return ""
    named = "; ".join(", ".join(by_name[trial.name] for trial in group) for group in groups)
    return f"Different in seeds alone: {named}. --seeds gives their mean and standard deviation."


def letter_of(number: int) -> str:
    """Return A, B, ... Z, AA, AB, ..."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, len(ascii_uppercase))
        text = ascii_uppercase[digit] + text
    return text
