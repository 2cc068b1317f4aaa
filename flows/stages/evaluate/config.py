"""The settings of the evaluation."""

from pydantic import Field

from ddpm_core.choices import Choice
from flows.stage_config import SEED_LIMIT, Device, StageConfig, choice, execution


class ExtractorName(Choice):
    """The features that a Fréchet distance is between; the figure carries the name."""

    AUTO = "auto", "fd_classifier if the data has labels, else fd_pixels"
    FD_CLASSIFIER = "fd_classifier", "A small classifier, trained on the data's own labels"
    FD_PIXELS = "fd_pixels", "The pixels, averaged down to at most 16x16"


class EvaluateConfig(StageConfig):
    """Samples and held-out images to a Fréchet distance and bits/dim."""

    extractor: ExtractorName = choice(ExtractorName.AUTO, "The features of the Fréchet distance")
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
