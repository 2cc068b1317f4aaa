"""A recipe that has a name."""

from dataclasses import dataclass

from flows.recipe.config import PipelineConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named recipe.

    Attributes:
        name: Its name on the command line, in the Prefect UI and in the names of runs.
        about: A sentence about its data and the time that it takes.
        config: The settings of all stages.
    """

    name: str
    about: str
    config: PipelineConfig
