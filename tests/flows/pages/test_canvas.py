"""The canvas: panels below each other, colours in their order, a picture of the page's width."""

from io import BytesIO

from PIL import Image

from flows.pages import palette
from flows.pages.canvas import coloured, new_panels, saved


def test_panels_are_as_high_as_asked_for() -> None:
    figure, (first, second) = new_panels([1.0, 2.0])
    picture = Image.open(BytesIO(saved(figure)))
    assert picture.size == (782, 510), "4.6 by 3 inches at 170 dots per inch"
    assert second.get_position().height > 1.3 * first.get_position().height


def test_colours_repeat_when_they_run_out() -> None:
    found = [colour for _, colour in coloured({str(number): number for number in range(5)})]
    assert found == [*palette.SERIES, palette.SERIES[0]]
