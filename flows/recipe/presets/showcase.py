"""Fashion-MNIST by class in an hour on two cores; `make showcase` runs it.

The network has few channels at full resolution, where most of the time goes, and many below it.
"""

from ddpm_core.choices import ScheduleKind, StepVariance
from flows.metrics.choices import MetricName
from flows.recipe.config import PipelineConfig
from flows.recipe.presets.preset import Preset
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare.config import PrepareConfig, SourceKind
from flows.stages.sample.config import SampleConfig
from flows.stages.train.config import TrainConfig

SHOWCASE = Preset(
    name="showcase",
    about="Fashion-MNIST by class, 28×28 grey, with a small network: an hour on two CPU cores.",
    config=PipelineConfig(
        prepare=PrepareConfig(
            kind=SourceKind.IDX, source="/usr/share/datasets/fashion-mnist", image_size=28, channels=1, unit_images=4096
        ),
        train=TrainConfig(
            images=384_000,
            batch_size=64,
            learning_rate=2e-3,
            lr_warmup_images=16_000,
            lr_decay_images=100_000,
            ema_halflife_images=20_000,
            ema_rampup_ratio=0.1,
            random_flip=False,  # because all shoes of the set point to the left
            threads=2,
            class_conditional=True,
            schedule=ScheduleKind.COSINE,
            base_channels=16,
            channel_mults=[1, 3, 6],
            num_res_blocks=1,
            attention_resolutions=[7],
            norm_groups=8,
            dropout=0.0,
            checkpoint_images=50_000,
        ),
        # DDIM, which adds no noise, keeps the errors of its first steps: every third picture had holes.
        sample=SampleConfig(count=4096, num_steps=64, variance=StepVariance.FIXED_SMALL),
        evaluate=EvaluateConfig(
            metrics=[MetricName.FD, MetricName.BITS_PER_DIM, MetricName.MEMORISED], bpd_images=128, batch_size=32
        ),
    ),
)
