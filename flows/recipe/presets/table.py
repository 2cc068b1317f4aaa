"""The table of presets: a new one is a file and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.digits import DIGITS
from flows.recipe.presets.fashion_mnist import FASHION_MNIST
from flows.recipe.presets.folder import FOLDER
from flows.recipe.presets.preset import Preset

_ALL = (
    DIGITS,
    FASHION_MNIST,
    FOLDER,
)
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})


def preset(name: str) -> PipelineConfig:
    """Return the settings of the preset of this name, a key of `PRESETS`."""
    return PRESETS[name].config
