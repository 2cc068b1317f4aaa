"""The settings of the evaluation."""

from pydantic import Field, field_validator

from flows.metrics.choices import ExtractorName, MetricName
from flows.stage_config import SEED_LIMIT, Device, StageConfig, choice, choices, execution


class EvaluateConfig(StageConfig):
    """Samples and held-out images to a Fréchet distance and bits/dim."""

    metrics: list[MetricName] = choices([MetricName.FD, MetricName.BITS_PER_DIM], "The figures to compute")
    extractor: ExtractorName = choice(ExtractorName.AUTO, "The features that a distance compares")
    bpd_images: int = Field(
        256, ge=2, le=1 << 20, description="Held-out images for the bound; all of them if there are fewer"
    )
    bpd_timesteps: int = Field(
        0, ge=0, le=100_000, description="Timesteps per image for an estimate of the bound; 0 sums all T"
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Images per unit of the bound")
    seed: int = Field(
        0, ge=0, le=SEED_LIMIT, description="Seed of the draws of x_t and of the timesteps of an estimate"
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per worker")
    device: Device = execution("auto", "auto takes cuda if this machine has it")

    @field_validator("metrics")
    @classmethod
    def _each_once(cls, chosen: list[MetricName]) -> list[MetricName]:
        """Put them in the order of their kind, so that equal choices are equal settings."""
        twice = next((name for name in chosen if chosen.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice")
        return sorted(chosen, key=list(MetricName).index)
