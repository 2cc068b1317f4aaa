"""The rule that turns any image into pixels: colour, orientation, crop, size."""

import random
import warnings
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import DAMAGED_METADATA, decode
from infra.sources.fit import FILTERS, fit
from infra.sources.shape import NO_RESIZE, Shape

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    """The image as a file of that kind gives it back."""
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return decode(buffer.getvalue(), "x")


def grey(image: Image.Image, size: int) -> Pixels:
    return fit(image, square(size, 1), "x")[0]


def colour(image: Image.Image, size: int) -> Pixels:
    return fit(image, square(size), "x").transpose(1, 2, 0)


def square(size: int, channels: int = 3, **more: str) -> Shape:
    return Shape(height=size, width=size, channels=channels, **more)


class TestColour:
    """Each mode is saved as a file and read again, since the reader decides what mode a file comes back in."""

    def test_black_and_white(self) -> None:
        bits = noise(8, 8) > 127
        image = stored(Image.fromarray(bits))
        assert image.mode == "1"
        assert np.array_equal(grey(image, 8), np.where(bits, 255, 0))
        assert np.array_equal(colour(image, 8), np.where(bits, 255, 0)[..., None].repeat(3, 2))

    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
    def test_grey(self, kind: str, options: dict[str, object]) -> None:
        pixels = noise(8, 8)
        image = stored(Image.fromarray(pixels), kind, **options)
        assert np.array_equal(colour(image, 8), pixels[..., None].repeat(3, 2))
        if kind == "PNG":
            assert np.array_equal(grey(image, 8), pixels)

    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
    def test_colours(self, kind: str, options: dict[str, object]) -> None:
        pixels = noise(8, 8, 3)
        image = stored(Image.fromarray(pixels), kind, **options)
        assert image.mode == "RGB"
        assert np.array_equal(colour(image, 8), pixels)
        # ITU-R 601-2 luma, as Pillow's documentation of convert("L") gives it.
        luma = pixels @ np.array([299, 587, 114]) / 1000
        assert np.abs(grey(image, 8) - luma).max() <= 1

    def test_jpeg_is_what_the_decoder_says(self) -> None:
        image = stored(Image.fromarray(noise(8, 8, 3)), "JPEG", quality=90)
        assert np.array_equal(colour(image, 8), np.asarray(image))

    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
    def test_transparent_colours_lie_over_white(self, kind: str, options: dict[str, object]) -> None:
        pixels = noise(8, 8, 4)
        pixels[0, :, 3], pixels[1, :, 3] = 0, 255
        image = stored(Image.fromarray(pixels), kind, **options)
        assert image.mode == "RGBA"
        alpha = pixels[..., 3:] / 255
        expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
        got = colour(image, 8)
        assert np.abs(got - expected).max() <= 1
        assert (got[0] == 255).all()
        assert np.array_equal(got[1], pixels[1, :, :3])

    def test_transparent_grey_lies_over_white(self) -> None:
        pixels = noise(8, 8, 2)
        pixels[0, :, 1], pixels[1, :, 1] = 0, 255
        image = stored(Image.merge("LA", _bands(pixels)))
        assert image.mode == "LA"
        alpha = pixels[..., 1] / 255
        got = grey(image, 8)
        assert np.abs(got - (pixels[..., 0] * alpha + 255 * (1 - alpha))).max() <= 1
        assert (got[0] == 255).all()
        assert np.array_equal(got[1], pixels[1, :, 0])

    @pytest.mark.parametrize("how", ["one colour", "a table"])
    def test_palette_with_transparency(self, how: str) -> None:
        indices = noise(8, 8) % 4
        palette = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=np.uint8)
        image = Image.frombytes("P", (8, 8), indices.tobytes())
        image.putpalette(palette.tobytes())
        transparency = 2 if how == "one colour" else bytes([255, 255, 0, 255])
        image = stored(image, transparency=transparency)
        assert image.mode == "P"
        expected = palette.copy()
        expected[2] = 255
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(colour(image, 8), expected[indices])

    def test_palette_without_transparency(self) -> None:
        indices = noise(8, 8) % 4
        palette = noise(4, 3, seed=1)
        image = Image.frombytes("P", (8, 8), indices.tobytes())
        image.putpalette(palette.tobytes())
        assert np.array_equal(colour(stored(image), 8), palette[indices])

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_a_transparent_colour_named_in_the_file(self, mode: str) -> None:
        pixels = np.full((8, 8) if mode == "L" else (8, 8, 3), 50, dtype=np.uint8)
        pixels[0] = 60
        image = stored(Image.fromarray(pixels), transparency=60 if mode == "L" else (60, 60, 60))
        assert image.mode == mode
        got = colour(image, 8)
        assert (got[0] == 255).all()
        assert (got[1:] == 50).all()

    def test_print_colours(self) -> None:
        inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255)}
        inks |= {(0, 0, 255, 0): (255, 255, 0), (0, 0, 0, 255): (0, 0, 0), (255, 255, 255, 0): (0, 0, 0)}
        for ink, expected in inks.items():
            image = stored(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
            assert image.mode == "CMYK"
            assert np.abs(colour(image, 16).astype(int) - expected).max() <= 2, ink

    def test_sixteen_bit_grey(self) -> None:
        # Around each bound of round(v / 257): 128 / 257 = 0.498 and 129 / 257 = 0.502.
        values = np.array([0, 128, 129, 257, 385, 386, 32896, 65406, 65407, 65535, 1, 2, 3, 4, 5, 6], dtype=np.uint16)
        image = stored(Image.fromarray(values.reshape(4, 4)))
        assert image.mode == "L"
        expected = np.array([0, 0, 1, 1, 1, 2, 128, 254, 255, 255, 0, 0, 0, 0, 0, 0])
        assert grey(image, 4).ravel().tolist() == expected.tolist()
        assert np.array_equal(colour(image, 4)[..., 2].ravel(), expected)

    def test_every_eight_bit_level_survives_sixteen_bits(self) -> None:
        levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
        assert np.array_equal(grey(stored(Image.fromarray(levels * 257)), 16), levels)


def _bands(pixels: Pixels) -> list[Image.Image]:
    return [Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(pixels.shape[2])]


# EXIF 2.3, tag 0x0112: where row 0 and column 0 of the stored image are on the upright one.
UPRIGHT = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_orientation(orientation: int, kind: str, options: dict[str, object]) -> None:
    pixels = noise(8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = stored(Image.fromarray(pixels), kind, exif=exif, **options)
    assert np.array_equal(colour(image, 8), UPRIGHT[orientation](pixels))


def test_orientation_comes_before_the_crop() -> None:
    pixels = noise(4, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.rot90(pixels, -1)
    assert upright.shape == (9, 4, 3)
    assert np.array_equal(colour(stored(Image.fromarray(pixels), exif=exif), 4), upright[2:6])


def test_a_jpeg_from_a_phone_is_turned() -> None:
    image = Image.new("RGB", (16, 16), "black")
    image.paste("white", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    got = colour(stored(image, "JPEG", exif=exif, quality=100), 16)
    assert got[:, :8].max() < 20, "what was at the top is at the right"
    assert got[:, 8:].min() > 235


@pytest.mark.parametrize(
    ("width", "height"), [(8, 8), (9, 8), (10, 8), (11, 8), (200, 8), (8, 9), (8, 10), (8, 15), (8, 200)]
)
def test_the_centred_square_is_cut_out(width: int, height: int) -> None:
    """Red counts columns and green rows, so every pixel says where it was."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = Image.fromarray(np.stack((x, y, x * 0), axis=2).astype(np.uint8))
    got = colour(image, 8)
    left, top = (width - 8) // 2, (height - 8) // 2
    assert np.array_equal(got[..., 0], x[:8, left : left + 8])
    assert np.array_equal(got[..., 1], y[top : top + 8, :8])
    before, after = left, width - 8 - left
    assert 0 <= after - before <= 1, "of an odd rest the left side gives less"


def test_at_the_same_size_no_pixel_is_touched() -> None:
    for size in (1, 7, 8, 64):
        pixels = noise(size, size, 3, seed=size)
        assert np.array_equal(colour(Image.fromarray(pixels), size), pixels)


@pytest.mark.parametrize(("width", "height", "size"), [(64, 64, 8), (5, 5, 8), (100, 60, 32), (1, 1, 4), (3, 1000, 16)])
def test_resizing_keeps_a_flat_colour_flat(width: int, height: int, size: int) -> None:
    got = colour(Image.new("RGB", (width, height), (10, 120, 250)), size)
    assert got.shape == (size, size, 3)
    assert (got == (10, 120, 250)).all()


def test_resizing_is_of_the_square_and_by_lanczos_where_nothing_is_said() -> None:
    image = Image.fromarray(noise(40, 50, 3))
    expected = image.crop((5, 0, 45, 40)).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(colour(image, 16), np.asarray(expected))


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "bilinear", "box", "nearest"])
def test_each_filter_is_pillows_of_that_name(name: str) -> None:
    image = Image.fromarray(noise(40, 40, 3))
    got = fit(image, square(16, resize_filter=name), "x").transpose(1, 2, 0)
    assert np.array_equal(got, np.asarray(image.resize((16, 16), Image.Resampling[name.upper()])))
    assert len({fit(image, square(16, resize_filter=other), "x").tobytes() for other in FILTERS}) == 5


@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_is_uint8_channels_first(channels: int) -> None:
    got = fit(Image.fromarray(noise(9, 12, 3)), square(8, channels), "x")
    assert got.dtype == np.uint8
    assert got.shape == (channels, 8, 8)


def test_broken_exif_leaves_the_pixels_and_never_ends_in_an_error() -> None:
    """Of broken EXIF data Pillow warns, or raises whatever it stumbles over."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "hello", 72.0
    whole = exif.tobytes()
    draw = random.Random(1)
    broken = 0
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(6, len(data))] = draw.choice([*range(14), 255])
        buffer = BytesIO()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            Image.new("RGB", (4, 4)).save(buffer, format="JPEG", exif=bytes(data))
            image = Image.open(buffer)
            image.load()
            pixels = fit(image, square(4), "photo.jpg")
        assert not pixels.any()
        broken += any(DAMAGED_METADATA in str(one.message) or "EXIF" in str(one.message) for one in warned)
    assert broken > 50


def test_without_a_resize_an_image_of_the_size_is_untouched_and_any_other_is_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    same = fit(Image.fromarray(pixels), square(16, resize_filter=NO_RESIZE), "x")
    np.testing.assert_array_equal(same, pixels.transpose(2, 0, 1))
    for width, height in ((16, 17), (32, 32)):
        with pytest.raises(InputError, match=f"has {width}x{height} pixels, not 16x16"):
            fit(Image.new("RGB", (width, height)), square(16, resize_filter=NO_RESIZE), "x")
    assert "refused" in square(16, resize_filter=NO_RESIZE).rule
    assert "resized with box" in square(16, resize_filter="box").rule
