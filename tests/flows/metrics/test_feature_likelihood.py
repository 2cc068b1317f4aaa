"""The gap of FLD: the same fit on the same random subsets."""

import pytest
import torch

from ddpm_core.metrics.blocks import random_rows
from ddpm_core.metrics.feature_likelihood import fit_mixture, generalisation_gap, normalisation
from flows.metrics import feature_likelihood
from flows.metrics.feature_likelihood import FLD_GAP
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured_on, subject


def drawn(**counts: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(count, 4, generator=generator) for name, count in counts.items()}


def test_it_compares_training_and_held_out_images_under_the_samples(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_likelihood, "_MOST", 25)
    sides = drawn(reference=60, samples=40, held_out=20)
    (found,), (work,) = measured_on([FLD_GAP], subject(tiny_run, {"seed": 2}), tiny_run.context, sides)
    training, samples = sides["reference"][random_rows(2, 60, 0)[:25]], sides["samples"][random_rows(2, 40, 1)[:25]]
    scale = normalisation(training)
    mixture = fit_mixture(scale(samples), scale(training)).mixture
    expected = generalisation_gap(
        mixture.log_likelihood(scale(training)), mixture.log_likelihood(scale(sides["held_out"]))
    )
    (figure,) = found.figures
    assert figure.name == "fld_gap_pixels"
    assert figure.value == pytest.approx(expected.value, rel=1e-9)
    assert figure.standard_error == pytest.approx(expected.standard_error, rel=1e-9)
    assert "25 training images less that of 20 held-out ones, in nats, given 25 samples" in figure.note
    assert set(work.plan.inputs) == {"reference", "samples", "held_out"}
    assert work.plan.settings == {"seed": 2}


def test_copies_of_training_images_raise_it(tiny_run: TinyRun) -> None:
    sides = drawn(reference=80, samples=80, held_out=80)
    (honest,), _ = measured_on([FLD_GAP], subject(tiny_run), tiny_run.context, sides)
    (copied,), _ = measured_on([FLD_GAP], subject(tiny_run), tiny_run.context, sides | {"samples": sides["reference"]})
    assert copied.figures[0].value > honest.figures[0].value + 1


def test_too_few_held_out_images_are_one_line(tiny_run: TinyRun) -> None:
    with pytest.raises(ConfigError, match="at least 2 held-out images are needed for the gap of FLD; there are 1"):
        measured_on([FLD_GAP], subject(tiny_run), tiny_run.context, drawn(reference=9, samples=9, held_out=1))
