"""The table of layers: as many convolutions as Inception v3 has, each with names of its own in both files."""

from infra.features.inception.layers import FEATURE_DIM, LAYERS, Conv, Fork, Step, convolutions


def test_there_are_94_convolutions_with_names_of_their_own() -> None:
    """Inception v3 up to its pool: 5 of the stem, and 7, 7, 7, 4, 10, 10, 10, 10, 6, 9, 9 of its mixed blocks."""
    found = list(convolutions())
    assert len(found) == 5 + 7 * 3 + 4 + 10 * 4 + 6 + 9 * 2 == 94
    assert len({one.name for one in found}) == len({one.scope for one in found}) == 94


def width(step: Step, inputs: int) -> int:
    """Channels of a step's output."""
    if isinstance(step, Conv):
        return step.channels
    if not isinstance(step, Fork):
        return inputs
    total = 0
    for branch in step.branches:
        channels = inputs
        for part in branch:
            channels = width(part, channels)
        total += channels
    return total


def test_the_mixed_blocks_are_as_wide_as_published() -> None:
    """Szegedy et al. 2015, table 1: 35x35x288, 17x17x768, 8x8x1280, 8x8x2048."""
    widths, channels = [], 3
    for layer in LAYERS:
        channels = width(layer.step, channels)
        if isinstance(layer.step, Fork):
            widths.append(channels)
    assert widths == [256, 288, 288, 768, 768, 768, 768, 768, 1280, 2048, 2048]
    assert channels == FEATURE_DIM


def test_each_convolution_knows_its_inputs() -> None:
    inputs = {one.name: one.inputs for one in convolutions()}
    assert inputs["Conv2d_1a_3x3"] == 3
    assert inputs["Mixed_5b.branch1x1"] == 192
    assert inputs["Mixed_7c.branch_pool"] == 2048
