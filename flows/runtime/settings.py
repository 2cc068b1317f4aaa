"""The settings of a run that do not affect its results."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RunSettings(BaseModel):
    """A run's name, root, mode and tracking; no result depends on them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "",
        description="What to call the run; empty for its recipe and what differs from it. Its key's digits follow.",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
    )
    preset: str = Field("folder", description="The recipe", pattern=r"^[a-z0-9-]{1,32}$")
    root: str = Field("", description="Folder of all outputs; empty for DDPM_ROOT, else ./ddpm-runs", max_length=4096)
    mode: Literal["ray", "in-process"] = Field("ray", description="in-process starts no Ray: one worker, for tests")
    experiment: str = Field("ddpm", description="MLflow's experiment", pattern=r"^[A-Za-z0-9._ -]{1,128}$")
    tracking: bool = Field(True, description="Tell MLflow")
    force: bool = Field(False, description="Start afresh beside what is there")
