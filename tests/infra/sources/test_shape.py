"""The rule in words: that of the defaults is stored with every image, so it never changes."""

import pytest

from infra.sources.shape import Shape

COLOUR = (
    "EXIF orientation applied; transparency over white; 16-bit grey divided by 257 and rounded; converted to L or RGB"
)


def test_the_words_of_the_defaults_stay() -> None:
    for channels in (1, 3):
        rule = Shape(height=32, width=32, channels=channels).rule
        assert rule == f"{COLOUR}; largest centred square cut out; resized with lanczos where the size differs"
    assert (
        Shape(height=8, width=8, channels=3, resize_filter="none").rule == f"{COLOUR}; images of another size refused"
    )


@pytest.mark.parametrize(
    ("way", "words"),
    [("crop", "part of the shape 48:32 cut out"), ("pad", "to fit inside; centred on"), ("stretch", "whatever")],
)
def test_others_have_words_of_their_own(way: str, words: str) -> None:
    assert words in Shape(height=32, width=48, channels=3, way=way).rule
    assert "transparency kept" in Shape(height=32, width=48, channels=4, way=way).rule


def test_the_rule_says_which_value_became_white() -> None:
    rule = Shape(height=8, width=8, channels=1, white=4095.0).rule
    assert "scaled to make 4095 white" in rule
    assert "257" not in rule
