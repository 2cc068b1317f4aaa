"""The metrics of features on a GPU: what they give on the CPU, without a copy to it in between."""

import pytest
import torch

from ddpm_core.metrics.feature_likelihood import fit_mixture, normalisation
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.inception_score import ClassStats, inception_score
from ddpm_core.metrics.kernel import squared_mmd
from ddpm_core.metrics.manifold import Balls, balls_around
from ddpm_core.metrics.neighbours import nearest_neighbours

pytestmark = pytest.mark.gpu

DEVICES = ("cpu", "cuda")


def drawn(seed: int, count: int, dim: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("whole", [False, True])
def test_neighbours_and_balls_are_the_same(whole: bool) -> None:
    """Whole numbers have many equal distances, others have none: rows must agree exactly in both cases."""
    rows, queries = drawn(0, 3000, 48), drawn(1, 700, 48)
    if whole:
        rows, queries = rows[:, :2].mul(2).round(), queries[:, :2].mul(2).round()
    found = []
    for device in DEVICES:
        here, asked = rows.to(device), queries.to(device)
        own = torch.arange(len(rows), device=device)
        within = nearest_neighbours(here, here.split(900), 5, centre=here.mean(0), own_rows=own)
        across = nearest_neighbours(asked, here.split(900), 5, centre=here.mean(0))
        balls = [
            Balls(part, radii[:, [2, 4]])
            for part, radii in zip(here.split(900), within.squared_distances.split(900), strict=True)
        ]
        counts = balls_around(asked, balls, closed=[True, False], centre=here.mean(0))
        assert counts.device.type == within.rows.device.type == device
        found.append([part.cpu() for part in (within.rows, across.rows, counts, within.squared_distances)])
    cpu, gpu = found
    assert all(torch.equal(a, b) for a, b in zip(cpu[:3], gpu[:3], strict=True))
    torch.testing.assert_close(cpu[3], gpu[3], rtol=1e-13, atol=0)


def test_sums_kernels_and_fits_agree_to_rounding() -> None:
    x, y, logits = drawn(0, 600, 64), 0.3 + drawn(1, 500, 64), 3 * drawn(2, 600, 10)

    def figures(device: str) -> list[float]:
        a, b = x.to(device), y.to(device)
        scale = normalisation(a)
        sides = [FeatureStats.empty(64, torch.device(device)).update(side) for side in (a, b)]
        return [
            squared_mmd(a, b),
            frechet_distance(sides[0].without(FeatureStats.empty(64, torch.device(device)).update(a[:50])), sides[1]),
            inception_score(ClassStats.empty(10, torch.device(device)).update(logits.to(device))),
            fit_mixture(scale(b), scale(a), steps=20, tolerance=0.0).log_likelihoods[-1],
        ]

    assert figures("cuda") == pytest.approx(figures("cpu"), rel=1e-9)
