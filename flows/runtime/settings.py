"""The settings of a run that do not affect its results."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RunSettings(BaseModel):
    """A run's name, root, mode and tracking; no result depends on them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "",
        description="Name of the run, followed by digits of its key; empty for the recipe and what differs from it",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
    )
    preset: str = Field("folder", description="The recipe", pattern=r"^[a-z0-9-]{1,32}$")
    root: str = Field(
        "",
        description="Folder of all outputs, or s3://bucket/prefix; empty for DDPM_ROOT, else ./ddpm-runs",
        max_length=4096,
    )
    until: str = Field("", description="The last stage to run; empty for all stages", pattern=r"^[a-z]{0,16}$")
    timeout: float = Field(
        0.0,
        ge=0,
        le=525_600,
        description="Minutes until a run of Prefect saves what it has and ends as timed out; 0 for no limit",
    )
    execution: Literal["here", "job"] = Field(
        "here", description="job: each stage runs on the cluster as a Ray job, which outlives the process of the run"
    )
    ray_jobs: str = Field(
        "",
        description="Address of Ray's jobs server, such as http://head:8265; empty for RAY_API_SERVER_ADDRESS",
        pattern=r"^(https?://[A-Za-z0-9._:/\[\]-]{1,256})?$",
    )
    mode: Literal["ray", "in-process"] = Field("ray", description="in-process: without Ray, one worker in this process")
    experiment: str = Field("ddpm", description="Experiment in MLflow", pattern=r"^[A-Za-z0-9._ -]{1,128}$")
    tracking: bool = Field(True, description="Track the run in MLflow")
    register_as: str = Field(
        "",
        description="Name to register the network under in MLflow; empty to register nothing",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._ -]{0,63})?$",
    )
    champion_by: str = Field(
        "",
        description="Figure that decides on the champion; empty for the first of the final table with a standard error",
        pattern=r"^[a-z0-9_]{0,64}$",
    )
    force: bool = Field(False, description="Compute every stage anew, beside what is sealed")
    strict_environment: bool = Field(
        False,
        description="Refuse to go on with an output that was begun in another environment, or on nodes that differ",
    )
    wait: bool = Field(True, description="Wait while another run holds this run or an output; if false, end at once")

    patience: float = Field(
        10.0,
        gt=0,
        le=1440,
        description="Minutes to wait for room on a cluster: for its autoscaler's nodes, or for lost ones to return",
    )

    @model_validator(mode="after")
    def _registry_is_tracked(self) -> Self:
        if self.register_as and not self.tracking:
            raise ValueError(f"register_as needs tracking, as the registry is MLflow's; got {self.register_as}")
        if self.champion_by and not self.register_as:
            raise ValueError(f"champion_by needs register_as, the name of the model; got {self.champion_by}")
        if self.register_as and self.until:
            raise ValueError(f"register_as needs every stage, as {self.until} measures no network")
        return self

    @model_validator(mode="after")
    def _job_is_on_ray(self) -> Self:
        if self.execution == "job" and self.mode == "in-process":
            raise ValueError("execution=job needs Ray; got mode in-process")
        return self
