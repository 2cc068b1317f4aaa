"""Ho et al. 2020 on CelebA-HQ at 256×256; docs/presets.md gives the source of each value."""

from flows.recipe.presets.large_images import large_images
from flows.recipe.presets.preset import Preset

CELEBAHQ256 = Preset(
    name="celebahq256",
    about="CelebA-HQ, 256×256, by the paper's recipe: 500,000 steps, for several GPUs.",
    # CelebA-HQ has no split of its own, and the paper trains on all 30,000 images. A hundredth is enough for the bound.
    config=large_images(steps=500_000, holdout=0.01),
)
