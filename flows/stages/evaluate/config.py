"""The settings of the evaluation."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from flows.metrics.choices import ExtractorName, MetricName
from flows.stage_config import SEED_LIMIT, Device, StageConfig, choice, choices, execution


class EvaluateConfig(StageConfig):
    """Samples and held-out images to a Fréchet distance and bits/dim."""

    metrics: list[MetricName] = choices([MetricName.FD, MetricName.BITS_PER_DIM], "The figures to compute")
    extractor: ExtractorName = choice(ExtractorName.AUTO, "The features that a distance compares")
    extractor_sha256: str = Field(
        "",
        pattern="^([0-9a-f]{64})?$",
        description="sha256 of the weights if they are other than the published ones; the figure is then no fid",
    )
    bpd_images: int = Field(
        256, ge=2, le=1 << 20, description="Held-out images for the bound; all of them if there are fewer"
    )
    bpd_timesteps: int = Field(
        0, ge=0, le=100_000, description="Timesteps per image for an estimate of the bound; 0 sums all T"
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Images per unit of the bound")
    seed: int = Field(
        0,
        ge=0,
        le=SEED_LIMIT,
        description="Seed of the draws of x_t, of the timesteps of an estimate and of random blocks of images",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per worker")
    device: Device = execution("auto", "auto takes cuda if this machine has it")
    extractor_weights: str = execution(
        "", "File with the weights of the extractor inception: a path or s3://bucket/key; see fid.md"
    )
    reference_statistics: str = execution(
        "", "File with mu and sigma of reference features, for Fréchet distances to them in place of the training split"
    )

    @field_validator("metrics")
    @classmethod
    def _each_once(cls, chosen: list[MetricName]) -> list[MetricName]:
        """Put them in the order of their kind, so that equal choices are equal settings."""
        twice = next((name for name in chosen if chosen.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice")
        return sorted(chosen, key=list(MetricName).index)

    @model_validator(mode="after")
    def _weights_are_given(self) -> Self:
        needed = self.extractor == ExtractorName.INCEPTION and "extractor" not in self.unused()
        if needed and not self.extractor_weights:
            raise ValueError(
                "extractor inception needs the file of its weights; set evaluate.extractor_weights to "
                "pt_inception-2015-12-05-6726825d.pth from github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, "
                "or to NVIDIA's inception-2015-12-05.pt"
            )
        return self
