"""Images that are no squares, the ways to take a shape, and opacity."""

import numpy as np
import pytest
from PIL import Image

from infra.errors import InputError
from infra.sources.fit import fit
from infra.sources.shape import NO_RESIZE, Shape
from tests.infra.sources.test_fit import noise, square, stored


def ramp(width: int, height: int) -> Image.Image:
    """Red counts columns and green rows, so every pixel says where it was."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack((x, y, x * 0 + 200), axis=2).astype(np.uint8))


class TestWays:
    @pytest.mark.parametrize(
        ("source", "target", "box"),
        [
            ((40, 20), (20, 10), (0, 0, 40, 20)),
            ((40, 20), (10, 10), (10, 0, 30, 20)),
            ((40, 20), (10, 20), (15, 0, 25, 20)),
            ((20, 40), (20, 10), (0, 15, 20, 25)),
            ((7, 3), (3, 2), (1, 0, 6, 3)),
        ],
    )
    def test_the_largest_centred_part_of_the_shape(
        self, source: tuple[int, int], target: tuple[int, int], box: tuple[int, int, int, int]
    ) -> None:
        width, height = target
        got = fit(ramp(*source), Shape(height=height, width=width, channels=3), "x").transpose(1, 2, 0)
        expected = ramp(*source).crop(box).resize(target, Image.Resampling.LANCZOS)
        assert np.array_equal(got, np.asarray(expected))

    def test_stretched(self) -> None:
        got = fit(ramp(40, 20), Shape(height=8, width=8, channels=3, way="stretch"), "x").transpose(1, 2, 0)
        assert np.array_equal(got, np.asarray(ramp(40, 20).resize((8, 8), Image.Resampling.LANCZOS)))

    def test_padded_with_black(self) -> None:
        got = fit(ramp(40, 20), Shape(height=10, width=10, channels=3, way="pad"), "x").transpose(1, 2, 0)
        inside = np.asarray(ramp(40, 20).resize((10, 5), Image.Resampling.LANCZOS))
        assert np.array_equal(got[2:7], inside)
        assert not got[:2].any()
        assert not got[7:].any()

    def test_padded_without_a_resize(self) -> None:
        small = ramp(4, 6)
        got = fit(small, Shape(height=8, width=8, channels=3, way="pad", resize_filter=NO_RESIZE), "x")
        assert np.array_equal(got.transpose(1, 2, 0)[1:7, 2:6], np.asarray(small))
        with pytest.raises(InputError, match="has 9x6 pixels, not 8x8"):
            fit(ramp(9, 6), Shape(height=8, width=8, channels=3, way="pad", resize_filter=NO_RESIZE), "x")

    def test_an_image_of_the_shape_is_untouched_in_every_way(self) -> None:
        for way in ("crop", "pad", "stretch"):
            got = fit(ramp(12, 7), Shape(height=7, width=12, channels=3, way=way), "x")
            assert np.array_equal(got.transpose(1, 2, 0), np.asarray(ramp(12, 7)))


class TestOpacity:
    def test_it_is_kept_and_nothing_is_composited(self) -> None:
        pixels = noise(8, 8, 4)
        pixels[0, :, 3] = 0
        got = fit(stored(Image.fromarray(pixels)), square(8, 4), "x").transpose(1, 2, 0)
        assert np.array_equal(got, pixels)

    def test_images_without_it_are_opaque(self) -> None:
        for image in (Image.fromarray(noise(8, 8, 3)), Image.fromarray(noise(8, 8))):
            assert (fit(image, square(8, 4), "x")[3] == 255).all()

    def test_padding_is_transparent(self) -> None:
        sprite = Image.new("RGBA", (4, 8), (10, 20, 30, 255))
        got = fit(sprite, Shape(height=8, width=8, channels=4, way="pad", resize_filter=NO_RESIZE), "x")
        assert got[3].tolist() == [[0, 0, 255, 255, 255, 255, 0, 0]] * 8

    def test_resizing_mixes_no_colour_of_transparent_pixels(self) -> None:
        pixels = np.zeros((8, 8, 4), dtype=np.uint8)
        pixels[:, :4] = (200, 100, 50, 255)
        pixels[:, 4:] = (0, 255, 0, 0)
        got = fit(Image.fromarray(pixels), square(4, 4, resize_filter="box"), "x")
        assert got[:, 0, 0].tolist() == [200, 100, 50, 255]
        edge = fit(Image.fromarray(pixels[:, 1:7]), Shape(height=1, width=1, channels=4, resize_filter="box"), "x")
        assert np.abs(edge[:3, 0, 0].astype(int) - (200, 100, 50)).max() <= 1, "no green"
