"""What the user chose of how a source is read; every default leaves it to the rules."""

from dataclasses import dataclass

MAX_PIXELS = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the user chose of how a source is read. It is sent to the workers with the source.

    Attributes:
        max_pixels: The most pixels that an image may have; a larger one is bad.
        use_splits: Whether the splits that the source gives are taken.
    """

    max_pixels: int = MAX_PIXELS
    use_splits: bool = True


BY_RULE = Reading()
