"""Images of the user, by the defaults of all settings."""

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.preset import Preset

FOLDER = Preset(
    name="folder",
    about="Your own images with the paper's CIFAR-10 network, for GPUs: say where they are.",
    config=PipelineConfig(),
)
