"""The settings of sampling."""

from collections.abc import Collection
from typing import Self

from pydantic import Field, model_validator

from ddpm_core.choices import Sampler, StepVariance
from flows.stage_config import SEED_LIMIT, Device, Dtype, StageConfig, choice, execution, goal
from infra.errors import ConfigError


class SampleConfig(StageConfig):
    """Draws images from a trained network."""

    count: int = goal(50_000, "Images to draw", ge=2, le=1 << 40)
    num_steps: int = Field(0, ge=0, le=100_000, description="Steps of the respaced chain; 0 for all T")
    sampler: Sampler = choice(Sampler.DDPM, "The way from noise to an image")
    eta: float = Field(0.0, ge=0, le=1, description="eta of DDIM: 0 is deterministic, 1 is the ancestral chain")
    variance: StepVariance = choice(StepVariance.FIXED_LARGE, "The variance of the ancestral steps")
    guidance_scale: float = Field(1.0, ge=0, le=100, description="Scale of classifier-free guidance; 1 for none")
    label: int = Field(-1, ge=-1, le=1 << 20, description="Number of the class to draw; -1 for each class in turn")
    clip_x_start: bool = Field(True, description="Clamp each predicted x_0 to [-1, 1]; the ODE never does")
    batch_size: int = Field(
        64,
        ge=0,
        le=4096,
        description="Images per unit, computed together; 0 for as many as fit a GPU's memory, 1024 at most (CPU: 64)",
    )
    seed: int = Field(0, ge=0, le=SEED_LIMIT, description="Seed of x_T and of every z_t")
    dtype: Dtype = Field(
        "auto",
        description="Number format of matrix products; auto takes bfloat16 if it is native, else float16 on a GPU and "
        "float32 on a CPU",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per worker")
    compile: bool = Field(
        False, description="Compile the network by torch.compile: faster calls, after about a minute once per machine"
    )
    device: Device = execution("auto", "auto takes cuda if a worker with a GPU fits the cluster, else cpu")

    @model_validator(mode="after")
    def _eta_has_a_use(self) -> Self:
        if self.eta > 0 and "eta" not in self.sampler.uses:
            raise ValueError(
                f"sample.eta is for the ddim sampler: set sample.sampler=ddim or leave eta at 0; got {self.eta}"
            )
        return self


def check_label(config: SampleConfig, classes: int, of: str, untrained: Collection[int] = ()) -> None:
    """Refuse a label without a class, or of a class without a training image.

    Args:
        config: The settings that name the label.
        classes: The number of classes.
        of: The owner of the classes, for the error: "data" or "network".
        untrained: The labels of classes without a training image.

    Raises:
        ConfigError: If the label is too large, or training saw no image of the class.
    """
    if config.label in untrained:
        cause = f"class {config.label} has no training image"
        raise ConfigError(
            cause, stage="sample", item="sample.label", remedy="set another, or -1 for each class in turn"
        )
    if config.label >= classes:
        raise ConfigError(
            f"must be below the {of}'s {classes} classes; got {config.label}", stage="sample", item="sample.label"
        )
