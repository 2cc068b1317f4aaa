"""The settings of a sweep: its grid, its seeds, how many runs work at a time, and the figure that ranks them."""

from pydantic import BaseModel, ConfigDict, Field

# A product of settings grows fast; more runs than this are a mistake.
MOST_RUNS = 1000


class SweepSettings(BaseModel):
    """The settings of a sweep; no result of a run depends on them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: list[str] = Field(
        default_factory=list,
        description="Settings with their values, such as train.learning_rate=1e-4,2e-4; several form a product",
    )
    seeds: int = Field(
        1, ge=1, le=100, description="Runs per combination, each with seeds of its own; the table has their mean"
    )
    at_once: int = Field(1, ge=1, le=64, description="Most runs at a time")
    by: str = Field(
        "",
        pattern=r"^[a-z0-9_]{0,64}$",
        description="Figure that ranks the combinations; empty for the first one with a standard error",
    )
