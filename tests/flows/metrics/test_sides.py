"""The sides that metrics compare, and figures under the extractor's name."""

from dataclasses import replace

import pytest

import flows.metrics.sides
from ddpm_core.metrics.estimate import Estimate
from flows.metrics.sides import Side, named_figure
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def test_sides_keep_their_numbers() -> None:
    """The random blocks of every sealed output depend on them."""
    assert [(side.name, side.value) for side in Side] == [("REFERENCE", 0), ("SAMPLES", 1), ("HELD_OUT", 2)]


def test_a_figure_has_the_fields_name_with_published_weights_only(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name() -> str:
        return named_figure(subject(tiny_run), "kid", Estimate(0.1, 0.2), "note", published="kid").name

    assert name() == "kid_pixels"
    monkeypatch.setattr(flows.metrics.sides, "is_published", lambda *_: True)
    assert name() == "kid"
    assert named_figure(subject(tiny_run), "density", Estimate(0.1, 0.2), "note").name == "density_pixels"


def test_a_remark_stands_in_every_note_but_beside_the_accuracy_of_a_fitted_extractor(tiny_run: TinyRun) -> None:
    """A score's remark on unlike sizes comes with weights from a file."""
    from_file = replace(tiny_run.dataset.manifest(tiny_run.store), facts={"sha256": "0" * 64})
    fitted = replace(from_file, facts={"held_out_accuracy": {"right": 9, "images": 10, "largest_class": 2}})
    about = replace(subject(tiny_run), about_features="images of 16x16 and reference images of 32x32 pixels")
    for weights, said in ((None, True), (from_file, True), (fitted, False)):
        note = named_figure(replace(about, weights=weights), "kid", Estimate(0.1, 0.2), "note").note
        assert note == ("note; " + about.about_features if said else "note"), weights
