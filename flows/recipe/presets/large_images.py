"""The paper's recipe for images of 256×256 pixels (Ho et al. 2020, appendix B)."""

from ddpm_core.choices import StepVariance
from flows.recipe.config import PipelineConfig
from flows.stages.prepare.config import PrepareConfig
from flows.stages.sample.config import SampleConfig
from flows.stages.train.config import TrainConfig


def large_images(*, steps: int, holdout: float) -> PipelineConfig:
    """Return the recipe that CelebA-HQ and the categories of LSUN share.

    Args:
        steps: Optimiser steps, each of 64 images.
        holdout: Share of images held out if the source has no splits.
    """
    batch_size = 64
    return PipelineConfig(
        prepare=PrepareConfig(image_size=256, holdout=holdout),
        train=TrainConfig(
            images=steps * batch_size,
            batch_size=batch_size,
            learning_rate=2e-5,
            lr_warmup_images=320_000,
            ema_halflife_images=443_592,
            ema_rampup_ratio=10_000,
            channel_mults=[1, 1, 2, 2, 4, 4],
            dropout=0.0,
        ),
        sample=SampleConfig(variance=StepVariance.FIXED_SMALL, batch_size=16),
    )
