"""The frame of a page: one file, and nothing in its title acts."""

import base64
import re

from flows.page import image, page


def test_the_title_is_escaped_and_sections_stand_in_order() -> None:
    made = page("<b>&", ["<p>1</p>", "<p>2</p>"])
    assert "<title>&lt;b&gt;&amp;</title>" in made
    assert made.endswith("<body><p>1</p><p>2</p></body></html>")


def test_a_picture_is_inside() -> None:
    found = re.search(r'<img alt="dots" src="data:image/png;base64,([^"]*)">', image(b"\x89PNG..", "dots"))
    assert found is not None
    assert base64.b64decode(found[1]) == b"\x89PNG.."
    assert 'class="pixels"' in image(b"", "dots", pixels=True)
