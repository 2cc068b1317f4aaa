"""pytorch-fid and clean-fid differ from us by their resize and scale alone: our network after these gives their FID."""

import pytest

from tests.parity import figures
from tests.parity.figures import Figure
from tests.parity.ours import Ours
from tests.parity.rules import TENSORFLOW

_OTHERS = [figure for figure in figures.read() if figure.rule is not TENSORFLOW]


def _waits(figure: Figure) -> bool:
    """Whether a figure waits for `make test-all`: those of the many digits, and of large images by the graph's rule."""
    return figure.collection == "digits" or (figure.rule.graph and figure.collection == "large")


_PARAMETERS = [
    pytest.param(figure, id=figure.name, marks=[pytest.mark.slow] if _waits(figure) else []) for figure in _OTHERS
]


@pytest.mark.parametrize("figure", _PARAMETERS)
def test_their_rule_on_our_network_gives_their_figure(figure: Figure, ours: Ours) -> None:
    assert figures.equal(ours.figure(figure), figure.value), f"ours is {ours.figure(figure):.8g}"
