"""What the user chose of how a source is read; every default leaves it to the rules."""

from dataclasses import dataclass

MAX_PIXELS = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the user chose of how a source is read. It is sent to the workers with the source.

    Attributes:
        max_pixels: The most pixels that an image may have; a larger one is bad.
        max_value: The value that becomes white in arrays and in grey images of over 8 bits; 0 for that of the type.
        image_key: The key or column of the images to take, or `*` for all of them; empty leaves it to the rules of
            `infra.sources.keys`.
        use_splits: Whether the splits that the source gives are taken.
    """

    max_pixels: int = MAX_PIXELS
    image_key: str = ""
    max_value: float = 0.0
    use_splits: bool = True


BY_RULE = Reading()
