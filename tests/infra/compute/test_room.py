"""Room is asked for, and refused, in words that tell what was wanted and what is there."""

import pytest
import ray

from infra.compute.room import in_words, too_large
from infra.compute.units import Workers


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (Workers(), "1 workers of 1 CPU each"),
        (Workers(count=3, cpus=4, gpus=1), "3 workers of 4 CPU and 1 GPU each"),
    ],
)
def test_workers_in_words(workers: Workers, words: str) -> None:
    assert in_words(workers) == words


@pytest.mark.parametrize(
    ("have", "workers", "remedy"),
    [
        ({"CPU": 4.0}, Workers(gpus=1), "set device=cpu, or add nodes"),
        ({"CPU": 4.0, "GPU": 1.0}, Workers(count=2, gpus=1), "set fewer workers or threads, or add nodes"),
        ({"CPU": 4.0}, Workers(cpus=8), "set fewer workers or threads, or add nodes"),
    ],
)
def test_the_remedy_is_what_would_help(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, float], workers: Workers, remedy: str
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: have)
    monkeypatch.setattr("infra.compute.room.alive", lambda: [{}, {}])
    error = too_large(workers, "train")
    assert (error.exit_code, error.stage, error.remedy) == (7, "train", remedy)
    assert f"2 nodes with 4 CPU and {have.get('GPU', 0):g} GPU in all" in error.cause
