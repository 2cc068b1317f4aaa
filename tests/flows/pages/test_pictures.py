"""Grids show every pixel at its place; curves are pictures of the stated size."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from flows.pages import palette
from flows.pages.pictures import Value, bars, curve, histogram, intervals, points, sample_grid

GAP = 4


def opened(data: bytes) -> np.ndarray:
    image = Image.open(BytesIO(data))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def inked(picture: np.ndarray, colour: str, within: int = 0) -> np.ndarray:
    """The pixels of a picture that have a colour, or one near it, as at the edges of thin lines."""
    return (abs(picture.astype(int) - tuple(bytes.fromhex(colour[1:]))) <= within).all(2)


def test_tiles_that_are_no_squares_keep_their_shape() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 3, 32, 64), dtype=np.uint8)
    picture = opened(sample_grid(images, columns=2))
    assert picture.shape == (2 * (32 + GAP) + GAP, 2 * (64 + GAP) + GAP, 3)
    assert np.array_equal(picture[GAP : GAP + 32, 2 * GAP + 64 : 2 * GAP + 128], images[1].transpose(1, 2, 0))


def test_opacity_shows_the_squares_behind_it() -> None:
    image = np.full((1, 4, 64, 64), 100, dtype=np.uint8)
    image[0, 3, :, :32], image[0, 3, :, 32:] = 0, 255
    picture = opened(sample_grid(image))[GAP:-GAP, GAP:-GAP]
    assert {tuple(pixel) for pixel in picture[:, :32].reshape(-1, 3).tolist()} == {(255,) * 3, (204,) * 3}
    assert (picture[:, 32:] == 100).all()


def noise(count: int, channels: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, channels, size, size), dtype=np.uint8)


@pytest.mark.parametrize(
    ("count", "channels", "size", "columns", "rows_and_columns", "scale"),
    [
        (1, 1, 8, 0, (1, 1), 8),
        (4, 3, 8, 0, (2, 2), 8),
        (5, 1, 8, 0, (2, 3), 8),
        (10, 3, 28, 0, (3, 4), 2),
        (7, 1, 64, 3, (3, 3), 1),
        (3, 3, 100, 3, (1, 3), 1),
        (16, 1, 8, 8, (2, 8), 8),
    ],
)
def test_every_pixel_is_at_its_place(
    count: int, channels: int, size: int, columns: int, rows_and_columns: tuple[int, int], scale: int
) -> None:
    images = noise(count, channels, size)
    got = opened(sample_grid(images, columns))
    rows, across = rows_and_columns
    side = size * scale
    assert got.shape == (rows * (side + GAP) + GAP, across * (side + GAP) + GAP, 3)
    covered = np.zeros(got.shape[:2], dtype=bool)
    for number in range(count):
        top, left = (number // across) * (side + GAP) + GAP, (number % across) * (side + GAP) + GAP
        tile = got[top : top + side, left : left + side]
        covered[top : top + side, left : left + side] = True
        expected = np.broadcast_to(images[number].transpose(1, 2, 0), (size, size, 3))
        for y in range(scale):
            for x in range(scale):
                assert np.array_equal(tile[y::scale, x::scale], expected)
    assert (got[~covered] == 255).all(), "white between and around the images"


def test_equal_images_give_equal_bytes() -> None:
    assert sample_grid(noise(5, 3, 8)) == sample_grid(noise(5, 3, 8).copy())


@pytest.mark.parametrize("log_y", [False, True])
def test_a_curve(log_y: bool) -> None:
    x = list(range(1, 50))
    rising = curve(x, {"a": [float(v) for v in x]}, x_label="x", y_label="y", log_y=log_y)
    falling = curve(x, {"a": [50.0 - v for v in x]}, x_label="x", y_label="y", log_y=log_y)
    picture = opened(rising)
    # 4.6 x 3 inches at 170 dots each.
    assert picture.shape == (510, 782, 3)
    ink = inked(picture, palette.BLUE)
    columns = np.nonzero(ink.any(0))[0]
    heights = [np.nonzero(ink[:, column])[0].mean() for column in (columns[2], columns[-3])]
    assert heights[1] < heights[0], "a rising line goes up to the right"
    assert rising != falling


def test_two_lines_have_colours_and_names() -> None:
    x = [1.0, 2.0, 3.0]
    picture = opened(curve(x, {"a": [1.0, 2, 3], "b": [3.0, 2, 1]}, x_label="x", y_label="y"))
    for colour in palette.SERIES[:2]:
        assert inked(picture, colour).sum() > 100


def test_a_single_point_is_seen() -> None:
    picture = opened(curve([1.0], {"a": [2.0]}, x_label="x", y_label="y", log_y=True))
    assert inked(picture, palette.BLUE).any()


def test_more_lines_than_colours_are_all_drawn() -> None:
    count = len(palette.SERIES) + 1
    lines = {str(number): [float(number)] * 2 for number in range(count)}
    blue = inked(opened(curve([0.0, 1.0], lines, x_label="x", y_label="y")), palette.BLUE)
    # In the middle column there are no labels: only the first line and the last, far apart.
    rows = np.nonzero(blue[:, blue.shape[1] // 2])[0]
    assert rows[-1] - rows[0] > 100


def test_the_histogram_of_each_channel_has_its_colour() -> None:
    counts = {}
    for place, name in enumerate(("red", "green", "blue")):
        counts[name] = [int(20 + 80 * place <= value < 60 + 80 * place) for value in range(256)]
    # Below the legend, at the top of the axes: the plateaus, from left to right, by their unblended sides.
    picture = opened(histogram(counts))[60:90]
    columns = [np.nonzero(inked(picture, palette.CHANNELS[name]))[1] for name in counts]
    middles = [(of_name.min() + of_name.max()) / 2 for of_name in columns]
    assert middles[1] - middles[0] == pytest.approx(middles[2] - middles[1], abs=10)
    assert middles[1] - middles[0] > 100
    assert inked(opened(histogram({"grey": [1] * 256})), palette.CHANNELS["grey"], within=50).any()


def test_each_split_has_a_bar_for_each_name() -> None:
    picture = opened(bars(["a", "b"], {"train": [20, 10], "test": [10, 20]}))
    areas = [inked(picture, colour).sum() for colour in palette.SERIES[:2]]
    assert min(areas) > 10_000
    assert abs(areas[0] - areas[1]) < 0.05 * max(areas), "thirty images each"


def whisker(picture: np.ndarray, colour: str) -> int:
    """The length of a colour's ink in the direction in which it is longest, in dots."""
    rows, columns = np.nonzero(inked(picture, colour))
    return int(max(np.ptp(rows), np.ptp(columns)))


def test_a_whisker_is_as_long_as_its_interval() -> None:
    """Two values on one axis: four times the error makes a whisker of four times the length."""
    values = [Value(label="a", value=10.0, error=0.5), Value(label="b", value=12.0, error=2.0)]
    picture = opened(intervals({"bits/dim": values}))
    short, long = (whisker(picture, colour) for colour in palette.SERIES[:2])
    assert long / short == pytest.approx(4, rel=0.1)


def test_each_panel_of_intervals_has_an_axis_of_its_own() -> None:
    small, large = Value(label="a", value=1.0, error=0.1), Value(label="b", value=1000.0, error=100.0)
    apart = opened(intervals({"x": [small], "y": [large]}))
    half = apart.shape[0] // 2
    lengths = [whisker(part, palette.BLUE) for part in (apart[:half], apart[half:])]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)
    together = opened(intervals({"x": [small, large]}))
    assert whisker(together, palette.BLUE) < 0.2 * lengths[0]


def test_an_interval_that_is_not_known_has_no_whisker() -> None:
    picture = opened(intervals({"x": [Value(label="a", value=1.0), Value(label="b", value=2.0, error=0.5)]}))
    assert whisker(picture, palette.BLUE) < 20, "a dot"
    assert whisker(picture, palette.VERMILION) > 100


def test_the_marked_value_is_the_largest() -> None:
    def drawn(marked: bool) -> int:
        values = [Value(x=1.0, value=1.0, error=0.1), Value(x=2.0, value=2.0, error=0.1, marked=marked)]
        return int(inked(opened(points({"y": {"a": values}}, x_label="x")), palette.BLUE).sum())

    assert drawn(True) > drawn(False) + 100


def test_panels_of_points_share_the_x_axis() -> None:
    values = [Value(x=1.0, value=1.0), Value(x=2.0, value=2.0)]
    other = [Value(x=1.0, value=5.0), Value(x=3.0, value=2.0)]
    picture = opened(points({"a": {"a": values}, "b": {"b": other}}, x_label="x"))
    half = int(0.44 * picture.shape[0])  # the lower panel has the axis's label, too
    left = [np.nonzero(inked(part, palette.BLUE))[1].min() for part in (picture[:half], picture[half:])]
    right = [np.nonzero(inked(part, palette.BLUE))[1].max() for part in (picture[:half], picture[half:])]
    assert left[0] == pytest.approx(left[1], abs=2)
    assert right[0] < right[1] - 100, "2 stands to the left of 3"


@pytest.mark.parametrize("log_y", [False, True])
def test_a_band_has_the_width_that_is_asked_for(log_y: bool) -> None:
    """A band that reaches below 0 is cut off on a logarithmic axis, and drawn elsewhere."""

    def filled(width: float) -> int:
        y = [1.0, 2.0, 3.0]
        drawn = curve([1.0, 2.0, 3.0], {"a": y}, x_label="x", y_label="y", log_y=log_y, bands={"a": [width] * 3})
        # The band's colour is a quarter blue over white.
        tint = tuple(round(255 - 0.25 * (255 - part)) for part in bytes.fromhex(palette.BLUE[1:]))
        return int((abs(opened(drawn).astype(int) - tint) <= 12).all(2).sum())

    assert filled(0.0) < 1000
    assert filled(0.5) > 10_000
    assert filled(5.0) > filled(0.5) / 2
