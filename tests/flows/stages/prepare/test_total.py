"""The sum over all units: counts add up, and the distribution of values is that of all pixels."""

import numpy as np
import pytest

from flows.stages.prepare.total import Total
from infra.digests import Json


def account(pixels: np.ndarray, **more: object) -> Json:
    counts = [np.bincount(channel.ravel(), minlength=256).tolist() for channel in pixels.swapaxes(0, 1)]
    empty: Json = {"read": 0, "written": {}, "filtered": {}, "quarantined": [], "classes": {}}
    return empty | {"histogram": counts} | more


def test_units_add_up() -> None:
    draw = np.random.default_rng(0)
    parts = [draw.integers(0, 200, (count, 3, 4, 4), dtype=np.uint8) for count in (5, 2)]
    total = Total(3)
    total.add(
        account(
            parts[0],
            read=7,
            written={"train": 4, "test": 1},
            filtered={"too small": 1},
            quarantined=[{"name": "x"}],
            classes={"train": {"0": 3, "10": 1}, "test": {"-1": 1}},
        )
    )
    total.add(account(parts[1], read=2, written={"train": 2}, classes={"train": {"2": 1, "10": 1}}))
    facts, pixels = total.facts(), np.concatenate(parts)
    assert (facts["read"], facts["images"], facts["filtered"]) == (9, {"train": 6, "test": 1}, {"too small": 1})
    assert facts["quarantined"] == 1
    assert list(facts["classes"]["train"].items()) == [("0", 3), ("2", 1), ("10", 2)]
    assert facts["classes"]["test"] == {}, "images without a class are no class"
    assert facts["levels"] == len(np.unique(pixels))
    assert facts["mean"] == pytest.approx(pixels.mean((0, 2, 3)))
    assert facts["std"] == pytest.approx(pixels.std((0, 2, 3)))


def test_nothing_has_facts_too() -> None:
    assert Total(1).facts()["mean"] == [0]
