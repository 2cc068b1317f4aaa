"""Every metric of torch-fidelity and prdc: our extractor, as a run uses it, and our mathematics give their figures."""

import pytest

from tests.parity import figures
from tests.parity.figures import Figure
from tests.parity.ours import Ours, distance, fid
from tests.parity.rules import TENSORFLOW


@pytest.mark.parametrize(
    "figure", [figure for figure in figures.read() if figure.rule is TENSORFLOW], ids=lambda figure: figure.name
)
def test_ours_is_theirs(figure: Figure, ours: Ours) -> None:
    assert figures.equal(ours.figure(figure), figure.value), f"ours is {ours.figure(figure):.8g}"


def test_the_distance_in_few_dimensions_is_that_in_all(ours: Ours) -> None:
    samples, reference = (ours.features("large", side, TENSORFLOW) for side in ("samples", "reference"))
    assert fid(samples, reference, {}) == pytest.approx(distance(samples, reference), rel=1e-8)
