"""The shape of the U-Net, in a module without torch, so that checking a config takes no time."""

from dataclasses import dataclass

from ddpm_core.network.image_size import ImageSize, image_sides, image_size_of


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the network; the defaults are Ho's for CIFAR-10 (35,746,307 parameters).

    Attributes:
        image_size: Height and width, or one number for both; divisible by 2^(levels - 1).
        in_channels: Channels of the images.
        base_channels: Channels at full size; even.
        channel_mults: Channels of each level as multiples of `base_channels`; its length is the number of levels.
        num_res_blocks: Residual blocks per level on the way down; one more on the way up.
        attention_resolutions: Sizes at which attention follows each residual block, as lengths of the shorter side.
        norm_groups: Groups of GroupNorm; divides every level's channels.
        dropout: Probability of dropout in the residual blocks, in [0, 1).
        num_heads: Heads of each attention; divides every level's channels.
        scale_shift_norm: Let the time embedding scale and shift the second normalisation of a residual block, instead
            of being added before it (Dhariwal and Nichol 2021, "adaptive group normalisation").
        num_classes: Number of classes to condition on, by an embedding added to that of the time; 0 for none.
        learned_variance: Whether the output has a second half of channels for the variance of the reverse step.
    """

    image_size: ImageSize = 32
    in_channels: int = 3
    base_channels: int = 128
    channel_mults: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (16,)
    norm_groups: int = 32
    dropout: float = 0.1
    num_heads: int = 1
    scale_shift_norm: bool = False
    num_classes: int = 0
    learned_variance: bool = False

    def __post_init__(self) -> None:
        if not self.channel_mults or min(self.channel_mults) < 1:
            raise ValueError(f"channel_mults must hold whole numbers above 0; got {self.channel_mults}")
        object.__setattr__(self, "image_size", image_size_of(*image_sides(self.image_size)))
        if min(image_sides(self.image_size)) < 1:
            raise ValueError(f"image_size must be at least 1; got {self.image_size}")
        for name in ("in_channels", "num_res_blocks", "norm_groups", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.num_classes < 0:
            raise ValueError(f"num_classes must be 0 or above; got {self.num_classes}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {self.dropout}")
        self._check_sizes()
        self._check_channels()

    def _check_sizes(self) -> None:
        levels = len(self.channel_mults)
        if any(side % 2 ** (levels - 1) for side in image_sides(self.image_size)):
            raise ValueError(
                f"image_size must be divisible by {2 ** (levels - 1)} for {levels} levels; got {self.image_size}: "
                "choose fewer channel_mults or another size"
            )
        sizes = self.resolutions
        if missing := sorted(set(self.attention_resolutions) - set(sizes)):
            raise ValueError(f"attention_resolutions must be among the sizes {sizes}; got {missing}")

    def _check_channels(self) -> None:
        if self.base_channels < 4 or self.base_channels % 2:
            raise ValueError(f"base_channels must be even and at least 4; got {self.base_channels}")
        if self.base_channels % self.norm_groups:
            raise ValueError(f"norm_groups must divide base_channels; got {self.norm_groups} and {self.base_channels}")
        if self.base_channels % self.num_heads:
            raise ValueError(f"num_heads must divide base_channels; got {self.num_heads} and {self.base_channels}")

    @property
    def resolutions(self) -> list[int]:
        """The length of the shorter side at each level: that of the images, halved from level to level."""
        return [min(image_sides(self.image_size)) >> level for level in range(len(self.channel_mults))]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self.in_channels, *image_sides(self.image_size)

    @property
    def out_channels(self) -> int:
        """Channels of the output: twice the images' if the variance is learned."""
        return self.in_channels * (2 if self.learned_variance else 1)

    @classmethod
    def cifar10(cls) -> "UNetConfig":
        """Ho's network for CIFAR-10."""
        return cls()
