"""The size of a vision transformer (Dosovitskiy et al. 2021), and the one of FD-DINOv2."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """The numbers that the network is built from.

    Attributes:
        depth: Number of blocks.
        width: Numbers per token, and so the dimension of the features.
        heads: Of each attention; they share the width.
        patch: Height and width of a token's pixels.
        side: Height and width of the input in pixels, a multiple of `patch`.
        trained_side: The same of the images that the position embeddings were trained for.
    """

    depth: int
    width: int
    heads: int
    patch: int = 14
    side: int = 224
    trained_side: int = 518

    @property
    def hidden(self) -> int:
        """The width within the two dense layers of a block."""
        return 4 * self.width

    @property
    def grid(self) -> int:
        """Tokens along each side of the input."""
        return self.side // self.patch

    @property
    def trained_grid(self) -> int:
        """Tokens along each side of the images that the position embeddings were trained for."""
        return self.trained_side // self.patch


# ViT-L/14 without registers (Oquab et al. 2023, table 17).
LARGE = Size(depth=24, width=1024, heads=16)
