"""The identity of a run, as its stages know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """The run that a stage works for: one recipe on one data set.

    Attributes:
        name: Its name, the same in the report, MLflow and Prefect.
        recipe: The key of its recipe; empty if it is not known.
        links: Its pages in other programs, by the program's name.
    """

    name: str
    recipe: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
