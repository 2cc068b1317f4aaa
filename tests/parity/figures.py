"""The figures of other programs, as `make parity` wrote them to figures.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.parity.rules import RULES, Rule

PATH = Path(__file__).with_name("figures.json")
RELATIVE, ABSOLUTE = 1e-4, 1e-6


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of another program with its origin.

    Attributes:
        program: The package.
        version: Of the package.
        released: The date of its wheel.
        command: The command that ran it.
        call: The function that gave the figure.
        options: Of the function; the others have the program's defaults.
        collection: The images.
        metric: The figure's name.
        value: The figure.
        ours: Ours by the program's rule, computed on the same day; the tests compute it again.
    """

    program: str
    version: str
    released: str
    command: str
    call: str
    options: Mapping[str, Any]
    collection: str
    metric: str
    value: float
    ours: float | None = None

    @property
    def mode(self) -> str:
        """The program's mode, if it has several."""
        return str(self.options.get("mode", ""))

    @property
    def rule(self) -> Rule:
        """The way from bytes to the network's input."""
        return RULES[self.program, self.mode]

    @property
    def name(self) -> str:
        """Names the figure among all of the file."""
        return "-".join(filter(None, (self.program, self.mode, self.collection, self.metric)))


def equal(ours: float, theirs: float) -> bool:
    """Whether two figures are the same, to 1e-4 relative or, near 0, 1e-6 absolute."""
    return abs(ours - theirs) <= max(RELATIVE * abs(theirs), ABSOLUTE)


def read() -> list[Figure]:
    """Read all figures."""
    return [Figure(**entry) for entry in json.loads(PATH.read_text())["figures"]]


def write(weights: str, images: Mapping[str, str], figures: list[Figure]) -> None:
    """Write the file: the digests of weights and images, then the figures."""
    entries = [asdict(figure) for figure in figures]
    PATH.write_text(json.dumps({"weights": weights, "images": images, "figures": entries}, indent=1) + "\n")
