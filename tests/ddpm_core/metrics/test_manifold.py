import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from ddpm_core.metrics import manifold
from ddpm_core.metrics.estimate import share_of
from ddpm_core.metrics.manifold import Balls, balls_around, coverage, density, expected_coverage, precision
from ddpm_core.metrics.neighbours import nearest_neighbours


def vectors(seed: int, count: int, dim: int, mean: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + torch.randn(count, dim, generator=generator, dtype=torch.float64)


def radii(rows: torch.Tensor, k: int) -> torch.Tensor:
    own = torch.arange(len(rows))
    return nearest_neighbours(rows, [rows], k, centre=rows.mean(0), own_rows=own).squared_distances[:, -1:]


def counts(queries: torch.Tensor, rows: torch.Tensor, k: int, *, closed: bool) -> torch.Tensor:
    return balls_around(queries, [Balls(rows, radii(rows, k))], closed=[closed], centre=rows.mean(0))[:, 0]


def by_tables(real: np.ndarray, drawn: np.ndarray, k: int) -> dict[str, float]:
    """All four by tables of distances, as the papers write them; without copies, surfaces do not matter."""
    of_real = np.sort(cdist(real, real), axis=1)[:, k]
    of_drawn = np.sort(cdist(drawn, drawn), axis=1)[:, k]
    across = cdist(real, drawn)
    return {
        "precision": (across <= of_real[:, None]).any(0).mean(),
        "recall": (across <= of_drawn).any(1).mean(),
        "density": (across < of_real[:, None]).sum(0).mean() / k,
        "coverage": (across.min(1) < of_real).mean(),
    }


@pytest.mark.parametrize(("dim", "k"), [(1, 1), (2, 3), (2, 5), (30, 3)])
def test_all_four_equal_their_definitions(dim, k):
    real, drawn = vectors(0, 120, dim), 0.7 * vectors(1, 90, dim) + 0.3
    expected = by_tables(real.numpy(), drawn.numpy(), k)
    assert precision(counts(drawn, real, k, closed=True)).value == pytest.approx(expected["precision"])
    assert precision(counts(real, drawn, k, closed=True)).value == pytest.approx(expected["recall"])
    assert density(counts(drawn, real, k, closed=False), k).value == pytest.approx(expected["density"])
    nearest = nearest_neighbours(real, [drawn], 1, centre=real.mean(0)).squared_distances[:, 0]
    assert coverage(nearest, radii(real, k)[:, 0]).value == pytest.approx(expected["coverage"])


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(0, 25), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 6), data=st.data())
def test_neither_blocks_nor_tiles_change_the_counts(sizes, data):
    """Whole numbers, so that many queries lie on a surface."""
    rows, queries = torch.round(2 * vectors(2, sum(sizes), 2)), torch.round(2 * vectors(3, 40, 2))
    both = torch.cat((radii(rows, 3), radii(rows, 5)), dim=1)
    blocks = [Balls(*pair) for pair in zip(rows.split(sizes), both.split(sizes), strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifold, "_PAIRS", data.draw(st.integers(10, 400)))
        patch.setattr(manifold, "_COLUMNS", data.draw(st.integers(3, 40)))
        found = balls_around(queries, blocks, closed=[True, False], centre=rows.mean(0) + 50)
    table = ((queries[:, None] - rows) ** 2).sum(2)
    assert found[:, 0].tolist() == (table <= both[:, 0]).sum(1).tolist()
    assert found[:, 1].tolist() == (table < both[:, 1]).sum(1).tolist()


def test_a_copy_of_the_neighbour_on_the_surface_is_on_the_surface():
    """Far from the origin, where a product's rounding is larger than the radius."""
    rows = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64) * 1e-6 + 1e3
    query, centre = rows[2:3].clone(), torch.zeros(1)
    balls = Balls(rows[:1], radii(rows, 2)[:1])  # as wide as the distance of rows 0 and 2
    assert balls_around(query, [balls], closed=[True], centre=centre).tolist() == [[1]]
    assert balls_around(query, [balls], closed=[False], centre=centre).tolist() == [[0]]


def test_the_example_of_naeem_density_counts_and_precision_does_not():
    """Figure 1 of the paper in one dimension: an outlier's wide ball makes every sample precise, not dense."""
    real = torch.tensor([[0.0], [0.1], [0.2], [10.0]], dtype=torch.float64)
    drawn = torch.tensor([[3.0], [4.0], [5.0]], dtype=torch.float64)
    balls = counts(drawn, real, 1, closed=True)
    assert precision(balls).value == 1
    assert density(balls, 1).value == 1
    near = counts(torch.tensor([[0.05], [0.15], [0.1]], dtype=torch.float64), real, 1, closed=True)
    assert density(near, 1).value > 1


def test_the_expected_coverage_is_that_of_a_permutation_test():
    """Its value for equal distributions: a Monte Carlo over uniform numbers, whose distribution is free."""
    generator, held = np.random.default_rng(0), []
    for _ in range(2000):
        real, drawn = generator.random(12), generator.random(8)
        table = np.sort(np.abs(real[:, None] - real), axis=1)[:, 3]
        held.append((np.abs(real[:, None] - drawn).min(1) < table).mean())
    error = np.std(held) / np.sqrt(len(held))
    assert abs(np.mean(held) - expected_coverage(8, 12, 3)) < 4 * error


def test_density_is_1_on_average_if_both_sides_have_one_distribution():
    found = [
        float(density(counts(vectors(s, 40, 3), vectors(1000 + s, 40, 3), 5, closed=False)).value) for s in range(150)
    ]
    assert abs(np.mean(found) - 1) < 4 * np.std(found) / np.sqrt(len(found))


def test_errors_are_binomial_or_over_samples():
    balls = torch.tensor([0, 3, 1, 0, 2])
    assert precision(balls) == share_of(balls > 0)
    assert density(balls, 2).standard_error == pytest.approx(np.std([0, 1.5, 0.5, 0, 1], ddof=1) / np.sqrt(5))
