"""28x28 grey clothes; hours on two cores, minutes on a GPU."""

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.preset import Preset
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare.config import PrepareConfig, SourceKind
from flows.stages.sample.config import SampleConfig
from flows.stages.train.config import TrainConfig

FASHION_MNIST = Preset(
    name="fashion-mnist",
    about="Fashion-MNIST, 28×28 grey: hours on two CPU cores, minutes on a GPU.",
    config=PipelineConfig(
        prepare=PrepareConfig(
            kind=SourceKind.IDX, source="/usr/share/datasets/fashion-mnist", image_size=28, channels=1, unit_images=4096
        ),
        train=TrainConfig(
            images=6_000_000,
            learning_rate=1e-3,
            lr_warmup_images=64_000,
            lr_decay_images=1_000_000,
            ema_halflife_images=200_000,
            base_channels=64,
            channel_mults=[1, 2, 2],
            num_res_blocks=2,
            attention_resolutions=[14],
            dropout=0.0,
            threads=2,
        ),
        sample=SampleConfig(count=10_000, batch_size=128),
        evaluate=EvaluateConfig(bpd_images=512),
    ),
)
