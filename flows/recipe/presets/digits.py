"""8x8 grey digits; minutes on two cores."""

from ddpm_core.choices import StepVariance
from flows.recipe.config import PipelineConfig
from flows.recipe.presets.preset import Preset
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare.config import PrepareConfig, SourceKind
from flows.stages.sample.config import SampleConfig
from flows.stages.train.config import TrainConfig

DIGITS = Preset(
    name="digits",
    about="scikit-learn's 8×8 digits: minutes on two CPU cores, to see the whole pipeline work.",
    config=PipelineConfig(
        prepare=PrepareConfig(kind=SourceKind.DIGITS, image_size=8, channels=1, unit_images=512, workers=1),
        train=TrainConfig(
            images=89_600,
            batch_size=128,
            learning_rate=2e-3,
            lr_warmup_images=6_400,
            lr_decay_images=40_000,
            ema_halflife_images=20_000,
            ema_rampup_ratio=0.1,
            random_flip=False,
            threads=2,
            base_channels=24,
            channel_mults=[1, 2],
            num_res_blocks=1,
            attention_resolutions=[4],
            norm_groups=8,
            dropout=0.0,
            checkpoint_images=19_200,
            history_images=3_840,
            watch_share=0.1,  # so short a training has little time for its points
        ),
        sample=SampleConfig(count=512, num_steps=200, variance=StepVariance.FIXED_SMALL, batch_size=64),
        evaluate=EvaluateConfig(bpd_images=64, batch_size=32),
    ),
)
