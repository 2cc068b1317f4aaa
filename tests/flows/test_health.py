"""Warnings hold when something goes wrong, and only then; the sentence is of the first place at which it does."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flows.health import losses_of, warnings
from flows.points import Point, PointFigures


def rows(losses: list[float | None], **columns: list[Any]) -> list[dict[str, Any]]:
    return [
        {"images_seen": 100 * (place + 1), "loss": loss} | {name: column[place] for name, column in columns.items()}
        for place, loss in enumerate(losses)
    ]


def points(*places: int, split: str = "test") -> list[Point]:
    figures = PointFigures(split=split, images=50)
    return [Point(images_seen=place, file="f", sha256="d", bytes=1, figures=figures) for place in places]


def losses(mean: float, seed: int = 0, noise: float = 0.01) -> Tensor:
    """The losses of 50 images: hard and easy ones, and a little of a point's own."""
    easy = torch.linspace(-0.5, 0.5, 50, dtype=torch.float64)
    own = torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return mean + easy + noise * (own - own.mean())


FALLING: list[float | None] = [1.0 / (1 + place) + 0.1 for place in range(20)]


def test_a_healthy_run_has_none() -> None:
    assert warnings([], [], {}) == []
    healthy = rows(FALLING, grad_norm=[1.0] * 20, skipped_steps=[0] * 20, data_share=[0.5, *[0.01] * 19])
    measured = {1000: losses(0.5), 2000: losses(0.4, seed=1)}
    assert warnings(healthy, points(1000, 2000), measured) == []


def test_skipped_steps() -> None:
    found = warnings(rows(FALLING[:3], skipped_steps=[0, 1, 12]), [], {})
    assert found == [
        "Training may diverge: 1 step before 200 images was skipped, since gradients were not finite. If this goes on, "
        "lower train.learning_rate."
    ]


@pytest.mark.parametrize(("scale", "count"), [(65536.0, 0), (2.0, 0), (1.0, 0), (0.5, 1)])
def test_steps_that_find_the_scale_of_float16_are_no_warning(scale: float, count: int) -> None:
    """A row has the scale after its last step, which a skip has halved."""
    assert len(warnings(rows(FALLING[:3], skipped_steps=[0, 3, 0], loss_scale=[scale] * 3), [], {})) == count


@pytest.mark.parametrize(
    ("name", "words", "factor"), [("loss", "loss", 3.0), ("grad_norm", "norm of the gradient", 20.0)]
)
def test_a_rise_far_above_the_past(name: str, words: str, factor: float) -> None:
    def column(last: float) -> list[dict[str, Any]]:
        values: list[Any] = [5.0, 3.0, *[1.0] * 10, last, 50.0]
        return rows(values) if name == "loss" else rows([1.0] * 14, grad_norm=values)

    (found,) = warnings(column(factor + 0.5)[:13], [], {})
    assert found.startswith(f"Training may diverge: at 1,300 images the {words} is {factor + 0.5:.3g}, ")
    assert warnings(column(factor + 0.5), [], {}) == [found], "later rows do not change the sentence"
    assert warnings(column(factor - 0.5)[:13], [], {}) == []


def test_the_fall_at_the_start_is_no_rise() -> None:
    assert warnings(rows([0.1, 0.9, 0.8]), [], {}) == [], "a few rows are no past"
    assert warnings(rows([None, 0.9, None, 0.8]), [], {}) == []


@pytest.mark.parametrize(
    ("shares", "starved"),
    [
        ([0.9, 0.3, 0.3, 0.3], True),
        ([0.9, 0.3, 0.3, 0.1, 0.3, 0.3], False),
        ([0.9, 0.9, 0.9], False),
        ([0.9, 0.3, None, 0.3, 0.3], False),
    ],
)
def test_starved_of_data(shares: list[float | None], starved: bool) -> None:
    found = warnings(rows([0.1] * len(shares), data_share=shares), [], {})
    assert [line[:58] for line in found] == (
        ["Training is starved of data: before 400 images it waited f"] if starved else []
    )


def test_overfitting() -> None:
    measured = {500: losses(0.5), 1000: losses(0.4, 1), 1500: losses(0.45, 2), 2000: losses(0.6, 3)}
    (found,) = warnings(rows(FALLING), points(500, 1000, 1500, 2000), measured)
    assert "from 1,000 to 1,500 images the held-out loss rose from 0.4000 to 0.4500, by 0.0500 ± 0.00" in found
    assert "The point at 1,000 images may be the better network" in found
    assert warnings(rows(FALLING), points(500, 1000, 1500), measured) == [found]


@pytest.mark.parametrize(
    ("measured", "history", "split"),
    [
        ({1000: losses(0.4), 2000: losses(0.41, 1, noise=0.2)}, FALLING, "test"),
        ({1000: losses(0.4), 2000: losses(0.5, 1)}, FALLING[::-1], "test"),
        ({1000: losses(0.4), 2000: losses(0.5, 1)}, FALLING, "train"),
        ({1000: losses(0.4), 2000: losses(0.5, 1)[:7]}, FALLING, "test"),
        ({1000: losses(0.4)}, FALLING, "test"),
    ],
    ids=["within the error", "the training loss rises too", "training images", "other images", "not measured"],
)
def test_no_overfitting(measured: dict[int, Tensor], history: list[float | None], split: str) -> None:
    assert [
        line for line in warnings(rows(history), points(1000, 2000, split=split), measured) if "overfits" in line
    ] == []


def test_pairs_see_what_two_means_hide() -> None:
    """The images differ by 0.3 among themselves, the two points by 0.02."""
    before, after = losses(0.4), losses(0.42, 1)
    assert float((before.var() / 50 + after.var() / 50).sqrt()) > 0.02, "unpaired it is within the error"
    assert len(warnings(rows(FALLING), points(1000, 2000), {1000: before, 2000: after})) == 1


def test_the_loss_of_an_image_is_the_mean_over_its_timesteps() -> None:
    assert losses_of({"losses": torch.tensor([[1.0, 2.0], [3.0, 5.0]])}).tolist() == [1.5, 4.0]
