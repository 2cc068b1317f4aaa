"""Ho et al. 2020 on LSUN Church at 256×256; docs/presets.md says what Bedroom and Cat change."""

from flows.recipe.presets.large_images import large_images
from flows.recipe.presets.preset import Preset

LSUN256 = Preset(
    name="lsun256",
    about="LSUN Church, 256×256, by the paper's recipe: 1,200,000 steps, for several GPUs.",
    config=large_images(steps=1_200_000, holdout=0.01),
)
