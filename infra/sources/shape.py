"""The shape that all images take, in a module without Pillow, so that checking a config takes no time."""

from dataclasses import dataclass

NO_RESIZE = "none"
CROP, PAD, STRETCH = "crop", "pad", "stretch"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape that all images take, and the way to it.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity.
        resize_filter: The name of the filter, or `NO_RESIZE`.
        way: How images of another aspect ratio take it: crop, pad or stretch.
        white: The value that became white in arrays and in grey of over 8 bits; 0 for that of the type.
    """

    height: int
    width: int
    channels: int
    resize_filter: str = "lanczos"
    way: str = CROP
    white: float = 0.0

    @property
    def rule(self) -> str:
        """The rule of `fit` in words, for those who read the images."""
        return f"{self._colour_rule}; {self._size_rule}"

    @property
    def _colour_rule(self) -> str:
        # The default's words are stored with the images, so other words would be other bytes.
        transparency = "transparency kept" if self.channels == 4 else "transparency over white"
        modes = "RGBA" if self.channels == 4 else "L or RGB"
        deep = "16-bit grey divided by 257 and rounded"
        if self.white:
            deep = f"arrays and grey of over 8 bits scaled to make {self.white:g} white, and rounded"
        return f"EXIF orientation applied; {transparency}; {deep}; converted to {modes}"

    @property
    def _size_rule(self) -> str:
        resized = f"resized with {self.resize_filter} where the size differs"
        is_resized = self.resize_filter != NO_RESIZE
        if self.way == PAD:
            margin = "centred on transparent black" if self.channels == 4 else "centred on black"
            start = f"resized with {self.resize_filter} to fit inside" if is_resized else "larger ones refused"
            return f"{start}; {margin}"
        if not is_resized:
            return "images of another size refused"
        if self.way == STRETCH:
            return f"{resized}, whatever the aspect ratio"
        cut = "square" if self.height == self.width else f"part of the shape {self.width}:{self.height}"
        return f"largest centred {cut} cut out; {resized}"
