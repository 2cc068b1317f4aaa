"""The settings of the evaluation."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from ddpm_core.choices import Choice
from flows.metrics.choices import ExtractorName, Likelihood, MetricName
from flows.stage_config import SEED_LIMIT, Device, StageConfig, choice, choices, execution, outside_input


class EvaluateConfig(StageConfig):
    """Samples and held-out images to a Fréchet distance and bits/dim."""

    metrics: list[MetricName] = choices([MetricName.FD, MetricName.BITS_PER_DIM], "The figures to compute")
    extractor: ExtractorName = choice(ExtractorName.AUTO, "The features that a distance compares")
    extractor_sha256: str = Field(
        "",
        pattern="^([0-9a-f]{64})?$",
        description="sha256 of the extractor's file if it is not a published one; the figure's name then says so",
    )
    likelihood: list[Likelihood] = choices([Likelihood.BOUND], "The ways to measure the likelihood of held-out images")
    bpd_images: int = Field(
        256, ge=2, le=1 << 20, description="Held-out images for the likelihood; all of them if there are fewer"
    )
    bpd_draws: int = Field(
        1, ge=1, le=1000, description="Independent draws of noise per held-out image; from 2 on their error is known"
    )
    bpd_timesteps: int = Field(20, ge=1, le=100_000, description="Timesteps per image for an estimate of the bound")
    ema_lengths: list[Annotated[float, Field(gt=0, le=0.2886)]] = Field(
        [0.03, 0.05, 0.075, 0.1, 0.15, 0.2],
        min_length=1,
        max_length=64,
        description="Lengths of the averaged weights to compare, as shares of training (sigma_rel)",
    )
    flow_steps: int = Field(
        100, ge=2, le=100_000, description="Timesteps that the flow's solver visits, at most; T or more is all"
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Held-out images per unit of a likelihood")
    seed: int = Field(
        0,
        ge=0,
        le=SEED_LIMIT,
        description="Seed of the noise and timesteps that a likelihood draws, and of random blocks of images",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per worker")
    device: Device = execution("auto", "auto takes cuda if a worker with a GPU fits the cluster, else cpu")
    extractor_weights: str = outside_input(
        "", "File of an extractor that needs one: a path or s3://bucket/key; see fid.md and dinov2.md"
    )
    reference_statistics: str = outside_input(
        "", "File with mu and sigma of reference features, for Fréchet distances to them in place of the training split"
    )

    @field_validator("ema_lengths")
    @classmethod
    def _lengths_differ(cls, lengths: list[float]) -> list[float]:
        """Put them in ascending order, so that equal choices are equal settings."""
        twice = next((length for length in lengths if lengths.count(length) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice:g} is named twice")
        return sorted(lengths)

    @field_validator("metrics", "likelihood")
    @classmethod
    def _each_once(cls, chosen: list[Choice]) -> list[Choice]:
        """Put them in the order of their kind, so that equal choices are equal settings."""
        twice = next((name for name in chosen if chosen.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice")
        return sorted(chosen, key=list(type(chosen[0])).index)

    def unused(self) -> set[str]:
        """The settings without effect; a length is measured by an estimate, whatever the run's own likelihoods are."""
        return super().unused() - ({"bpd_timesteps"} if MetricName.EMA_LENGTHS in self.metrics else set())

    def measures(self, likelihood: Likelihood) -> bool:
        """Tell whether this likelihood is measured."""
        return likelihood in self.likelihood and "likelihood" not in self.unused()

    @model_validator(mode="after")
    def _file_is_given(self) -> Self:
        name = self.extractor
        if not name.file or "extractor" in self.unused():
            return self
        if not self.extractor_weights:
            raise ValueError(f"extractor {name} needs a file; set evaluate.extractor_weights to {name.file}")
        if name.runs_code and not self.extractor_sha256:
            raise ValueError(
                f"extractor {name} runs the code of its file; state the file's sha256 by evaluate.extractor_sha256"
            )
        return self
