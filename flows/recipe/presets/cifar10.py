"""Ho et al. 2020 on CIFAR-10; docs/presets.md gives the source of each value."""

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.preset import Preset
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare.config import PrepareConfig, SourceKind
from flows.stages.train.config import TrainConfig

# The defaults of all settings are this recipe, but for its length and for the averaged weights.
CIFAR10 = Preset(
    name="cifar10",
    about="CIFAR-10 by the paper's recipe: 800,000 steps and 50,000 samples, about a day on a data-centre GPU.",
    config=PipelineConfig(
        prepare=PrepareConfig(kind=SourceKind.CIFAR),
        train=TrainConfig(images=102_400_000, ema_halflife_images=887_184, ema_rampup_ratio=10_000),
        evaluate=EvaluateConfig(bpd_images=10_000),
    ),
)
