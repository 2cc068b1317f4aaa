"""Each figure of another program has an origin, and was measured on the images and weights that these tests use."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.parity import environment, figures, images, weights
from tests.parity.measure import PROGRAMS, TOP
from tests.parity.rules import RULES

FIGURES = figures.read()
REMEDY = "run make parity"


def test_the_weights_are_those_of_the_other_programs() -> None:
    assert weights.digest(weights.parity_weights()) == json.loads(figures.PATH.read_text())["weights"], REMEDY


def test_the_images_are_those_of_the_other_programs() -> None:
    found = {name: images.digest(sides) for name, sides in images.collections().items()}
    assert found == json.loads(figures.PATH.read_text())["images"], REMEDY


def test_written_images_are_the_images(tmp_path: Path) -> None:
    for name, sides in images.collections().items():
        images.write(sides, tmp_path / name)
        for side, expected in sides.items():
            paths = sorted((tmp_path / name / side).iterdir())
            found = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
            assert np.array_equal(found, np.broadcast_to(expected, found.shape))


def test_each_figure_has_an_origin() -> None:
    pins = environment.pins()
    for figure in FIGURES:
        assert (figure.version, figure.released) == pins[figure.program], REMEDY
        script = f"tests/parity/programs/{PROGRAMS[figure.program]}"
        assert script in figure.command
        assert (TOP / script).is_file()
        assert figure.call.split(".")[-1] in (TOP / script).read_text()


def test_every_program_and_mode_measured_every_collection() -> None:
    assert {(figure.program, figure.mode) for figure in FIGURES} == set(RULES)
    names = Counter(figure.name for figure in FIGURES)
    assert set(names.values()) == {1}
    for program, mode in RULES:
        of = {figure.collection for figure in FIGURES if (figure.program, figure.mode) == (program, mode)}
        assert of == {"digits", "small", "large"}


def test_every_metric_of_the_field_is_compared() -> None:
    expected = {"fid", "kid", "kid_std", "inception_score", "inception_score_std", "precision", "recall"}
    expected |= {"inception_score_shuffled", "inception_score_shuffled_std", "density", "coverage"}
    expected |= {"fid_with_our_statistics", "fid_with_their_statistics"}
    assert {figure.metric for figure in FIGURES} == expected


def test_figures_tell_something() -> None:
    """No distance is 0, and shares are neither all 0 nor all 1: then any two programs would agree."""
    for metric in ("precision", "recall", "coverage"):
        values = {figure.value for figure in FIGURES if figure.metric == metric}
        assert any(0 < value < 1 for value in values)
        assert len(values) > 1
    assert all(figure.value > 1 for figure in FIGURES if figure.metric == "fid")
    assert all(
        figure.value > 1.1 for figure in FIGURES if figure.metric in ("inception_score", "inception_score_shuffled")
    )


def test_another_rule_of_resize_gives_another_fid() -> None:
    """So the agreement under each program's rule is due to the rule."""
    fids = [figure for figure in FIGURES if figure.metric == "fid"]
    for figure in fids:
        (graph,) = (f.value for f in fids if f.program == "torch-fidelity" and f.collection == figure.collection)
        if figure.rule.graph:
            assert figures.equal(figure.value, graph)
        else:
            assert abs(figure.value - graph) > 20 * figures.RELATIVE * graph


@pytest.mark.parametrize(("ours", "theirs", "same"), [(2.0002, 2.0, True), (2.0003, 2.0, False), (5e-7, 0, True)])
def test_equal_is_to_four_digits_or_six_places(ours: float, theirs: float, same: bool) -> None:
    assert figures.equal(ours, theirs) is same
