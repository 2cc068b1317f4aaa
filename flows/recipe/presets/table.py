"""The table of presets: a new one is a file and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.celebahq256 import CELEBAHQ256
from flows.recipe.presets.cifar10 import CIFAR10
from flows.recipe.presets.digits import DIGITS
from flows.recipe.presets.fashion_mnist import FASHION_MNIST
from flows.recipe.presets.folder import FOLDER
from flows.recipe.presets.lsun256 import LSUN256
from flows.recipe.presets.preset import Preset
from flows.recipe.presets.showcase import SHOWCASE

_ALL = (
    DIGITS,
    SHOWCASE,
    FASHION_MNIST,
    FOLDER,
    CIFAR10,
    CELEBAHQ256,
    LSUN256,
)
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})


def preset(name: str) -> PipelineConfig:
    """Return the settings of the preset of this name, a key of `PRESETS`."""
    return PRESETS[name].config
