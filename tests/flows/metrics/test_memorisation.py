"""The memorised share by brute force on the same features, and the pairs that are sealed beside it."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from flows.artifacts import MEMORISED
from flows.metrics.memorisation import MEMORISED_SHARE
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured_on, subject


def drawn(**counts: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(count, 3, generator=generator) for name, count in counts.items()}


def by_hand(images: torch.Tensor, training: torch.Tensor) -> np.ndarray:
    nearest = np.sort(cdist(images, training))[:, :5]
    return nearest[:, 0] / nearest.mean(1)


def test_samples_are_compared_with_held_out_images(tiny_run: TinyRun) -> None:
    sides = drawn(reference=40, samples=30, held_out=210)
    sides["samples"][:10] = sides["reference"][10:20] + 1e-3
    (found,), works = measured_on([MEMORISED_SHARE], subject(tiny_run), tiny_run.context, sides)
    ratios, unseen = (by_hand(sides[name], sides["reference"]) for name in ("samples", "held_out"))
    limit = np.sort(unseen)[1]  # the second of 210, since 2 / 211 is nearly one percent
    (figure,) = found.figures
    assert (figure.name, figure.value) == ("memorised_pixels", pytest.approx(np.mean(ratios <= limit)))
    assert figure.value >= 1 / 3
    assert "share of 30 samples whose distance to the nearest of 40 training images" in figure.note
    assert "as small as for 2 of 210 held-out images; 0.0095 is expected" in figure.note
    assert {work.label for work in works} == {"samples_neighbours_in_reference", "held_out_neighbours_in_reference"}
    assert json.loads(found.files[MEMORISED])["limit"] == pytest.approx(limit)


def test_the_most_suspicious_samples_are_sealed_with_their_training_images(tiny_run: TinyRun) -> None:
    sides = drawn(reference=40, samples=30, held_out=20)
    sides["samples"][[21, 4]] = sides["reference"][[33, 7]] + torch.tensor([[1e-3], [2e-3]])
    (found,), _ = measured_on([MEMORISED_SHARE], subject(tiny_run), tiny_run.context, sides)
    pairs = json.loads(found.files[MEMORISED])["pairs"]
    assert [(pair["sample"], pair["training_image"]) for pair in pairs[:2]] == [(21, 33), (4, 7)]
    ratios, distances = by_hand(sides["samples"], sides["reference"]), cdist(sides["samples"], sides["reference"])
    assert [pair["sample"] for pair in pairs] == ratios.argsort()[:8].tolist()
    for pair in pairs:
        assert pair["ratio"] == pytest.approx(ratios[pair["sample"]])
        assert pair["training_image"] == distances[pair["sample"]].argmin()
        assert pair["distance"] == pytest.approx(distances[pair["sample"]].min())


@pytest.mark.parametrize(
    ("counts", "cause"),
    [
        ({"reference": 9, "samples": 9, "held_out": 1}, "at least 2 held-out images; there are 1"),
        ({"reference": 9, "samples": 9, "held_out": 0}, "no image is held out"),
        ({"reference": 4, "samples": 9, "held_out": 9}, "at least 5 training images; there are 4"),
    ],
)
def test_too_few_images_are_one_line(tiny_run: TinyRun, counts: dict[str, int], cause: str) -> None:
    sides = {name: rows for name, rows in drawn(**counts).items() if len(rows)}
    with pytest.raises(ConfigError, match=cause.replace(";", " are needed for the share of memorised samples;")):
        measured_on([MEMORISED_SHARE], subject(tiny_run), tiny_run.context, sides)
