"""The sides that metrics compare, and figures under the extractor's name."""

import pytest

import flows.metrics.sides
from ddpm_core.metrics.estimate import Estimate
from flows.metrics.sides import Side, check_count, named_figure
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def test_sides_keep_their_numbers() -> None:
    """The random blocks of every sealed output depend on them."""
    assert [(side.name, side.value) for side in Side] == [("REFERENCE", 0), ("SAMPLES", 1), ("HELD_OUT", 2)]


def test_a_side_with_too_few_images_is_one_line() -> None:
    with pytest.raises(ConfigError, match="KID needs at least 6 images on each side; the samples has 5") as caught:
        check_count("KID", 6, [(6, "training split"), (5, "samples")])
    assert (caught.value.exit_code, caught.value.item) == (2, "evaluate.metrics")
    check_count("KID", 6, [(6, "training split"), (6, "samples")])


def test_a_figure_has_the_fields_name_with_published_weights_only(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name() -> str:
        return named_figure(subject(tiny_run), "kid", Estimate(0.1, 0.2), "note", published="kid").name

    assert name() == "kid_pixels"
    monkeypatch.setattr(flows.metrics.sides, "is_published", lambda *_: True)
    assert name() == "kid"
    assert named_figure(subject(tiny_run), "density", Estimate(0.1, 0.2), "note").name == "density_pixels"
