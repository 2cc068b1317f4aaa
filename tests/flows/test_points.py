"""The points of a run: the best one, names for them, and what manifests record."""

import json
import math
from typing import Any

import pytest

from flows.points import Point, PointFigures, best_point, find_point, points_facts, read_points, split_name
from infra.errors import InputError


def point(images_seen: int, bits: float | None = None, split: str = "test", **more: Any) -> Point:
    figures = None if bits is None else PointFigures(split=split, images=8, bits_per_dim=bits, **more)
    return Point(images_seen=images_seen, file=f"f{images_seen}", sha256="d", bytes=3, figures=figures, time_ms=7)


def test_the_best_has_the_lowest_bound_and_the_earliest_of_equal_ones() -> None:
    found = best_point([point(10, 4.0), point(20, 3.0), point(30, 3.0), point(40)])
    assert found is not None
    assert found.images_seen == 20


@pytest.mark.parametrize(
    "points", [[], [point(10)], [point(10, 3.0, split="train")], [point(10, math.nan).from_json(point(10).as_json())]]
)
def test_without_held_out_figures_there_is_no_best(points: list[Point]) -> None:
    assert best_point(points) is None
    assert "best" not in points_facts(points)


def test_facts_lead_back_to_the_points() -> None:
    points = [point(10, 4.0, losses=[0.5, math.inf], loss=math.nan), point(20)]
    facts = json.loads(json.dumps(points_facts(points), allow_nan=False))
    assert facts["best"] == {"images_seen": 10, "file": "f10", "sha256": "d", "bytes": 3}
    first, second = read_points(facts)
    assert second == Point(images_seen=20, file="f20", sha256="d", bytes=3)
    assert first.figures is not None
    assert (first.figures.bits_per_dim, first.figures.losses, first.figures.loss) == (4.0, [0.5, None], None)
    assert first.row() == {"images_seen": 10, "time_ms": 7, "bits_per_dim_estimate": 4.0}
    assert second.row() == {}
    assert read_points({}) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digits-1a2b", ("digits-1a2b", "")),
        ("digits-1a2b@best", ("digits-1a2b", "best")),
        ("digits-1a2b@22,400", ("digits-1a2b", "22400")),
        ("a@b@1_000", ("a@b", "1000")),
    ],
)
def test_names_of_points(text: str, expected: tuple[str, str]) -> None:
    assert split_name(text) == expected


@pytest.mark.parametrize("text", ["run@", "run@last", "run@-5", "run@1.5"])
def test_names_of_no_point(text: str) -> None:
    with pytest.raises(InputError, match=r"neither `best` nor a number of images.*run@best"):
        split_name(text)


def test_points_are_found_by_name() -> None:
    points = [point(1000, 4.0), point(2000, 5.0)]
    assert find_point(points, "best", "run").images_seen == 1000
    assert find_point(points, "2000", "run").images_seen == 2000
    with pytest.raises(InputError, match=r"no point at 1,500 images.*1,000, 2,000"):
        find_point(points, "1500", "run")
    with pytest.raises(InputError, match="no best point"):
        find_point([point(1000)], "best", "run")


def test_words() -> None:
    figures = PointFigures(
        split="test", images=8, loss=0.08712, bits_per_dim=4.812, bits_per_dim_stderr=0.0512, samples=256, fd_pixels=1.5
    )
    assert figures.words() == "held-out loss 0.0871, bits/dim 4.81 ± 0.05 (estimate), fd_pixels 1.5 of 256 samples"
    assert PointFigures(split="train", images=8, loss=0.5).words() == "loss on training images 0.5000"
    assert set(PointFigures(split="train", images=8, loss=0.5).curves()) == {"loss_of_fixed_images"}
