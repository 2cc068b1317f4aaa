import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from ddpm_core.metrics import neighbours
from ddpm_core.metrics.neighbours import nearest_neighbours


def vectors(seed: int, count: int, dim: int, mean: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + torch.randn(count, dim, generator=generator, dtype=torch.float64)


def by_sorting(queries: np.ndarray, rows: np.ndarray, k: int, own: list[int] | None = None):
    """All distances by differences, sorted by distance and then by row."""
    found = []
    for number, query in enumerate(queries):
        distances = ((rows - query) ** 2).sum(1)
        candidates = [i for i in range(len(rows)) if own is None or i != own[number]]
        found.append(sorted((float(distances[i]), i) for i in candidates)[:k])
    return np.array([[d for d, _ in row] for row in found]), [[i for _, i in row] for row in found]


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_neighbours_are_sklearns(dim):
    queries, rows = vectors(0, 60, dim), vectors(1, 200, dim)
    found = nearest_neighbours(queries, [rows], 5, centre=rows.mean(0))
    distances, indices = (
        NearestNeighbors(n_neighbors=5, algorithm="brute").fit(rows.numpy()).kneighbors(queries.numpy())
    )
    assert found.rows.tolist() == indices.tolist()
    np.testing.assert_allclose(found.squared_distances.sqrt().numpy(), distances, rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 4),
    away=st.sampled_from([0.0, 1e3]),
    data=st.data(),
)
def test_neither_blocks_nor_tiles_nor_the_centre_change_anything(sizes, away, data):
    """Whole numbers in two dimensions, so that many distances are equal."""
    rows = torch.round(2 * vectors(5, sum(sizes), 2))
    queries, own = rows[1::2], torch.arange(1, len(rows), 2)
    k = data.draw(st.integers(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_PAIRS", data.draw(st.integers(10, 400)))
        patch.setattr(neighbours, "_COLUMNS", data.draw(st.integers(3, 40)))
        found = nearest_neighbours(queries, rows.split(sizes), k, centre=rows.mean(0) + away, own_rows=own)
    distances, indices = by_sorting(queries.numpy(), rows.numpy(), k, own.tolist())
    assert found.rows.tolist() == indices
    assert found.squared_distances.tolist() == distances.tolist()


def test_distances_that_the_product_confuses_keep_their_order():
    """Neighbours at 1e-7 from each other and at 1e6 from the centre: |x|^2 has 12 digits before the point.

    With |x|^2 + |y|^2 - 2 x.y alone every distance below is noise.
    """
    generator = torch.Generator().manual_seed(3)
    steps = 1 + torch.randperm(50, generator=generator).double()
    query = 1e6 + torch.randn(1, 4, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(50, 4, generator=generator, dtype=torch.float64))
    rows = query + 1e-7 * steps[:, None] * directions
    found = nearest_neighbours(query, rows.split(7), 6, centre=torch.zeros(4))
    distances, indices = by_sorting(query.numpy(), rows.numpy(), 6)
    assert found.rows.tolist() == indices
    assert found.squared_distances.tolist() == distances.tolist()
    assert 0 < float(found.squared_distances.max()) < 1e-11


def test_a_row_is_excluded_by_its_number_and_its_copy_is_a_neighbour():
    rows = vectors(0, 20, 6, mean=1e3)
    rows[13] = rows[4]
    found = nearest_neighbours(rows, rows.split(6), 1, centre=rows.mean(0), own_rows=torch.arange(20))
    assert (int(found.rows[4, 0]), int(found.rows[13, 0])) == (13, 4)
    assert float(found.squared_distances[4, 0]) == 0
    assert not bool((found.rows[:, 0] == torch.arange(20)).any())


def test_equal_distances_go_to_the_lowest_row():
    rows = torch.tensor([[1.0], [-1.0], [1.0], [-1.0], [3.0]])
    for size in (1, 2, 5):
        found = nearest_neighbours(torch.zeros(1, 1), rows.split(size), 3, centre=torch.zeros(1))
        assert found.rows.tolist() == [[0, 1, 2]]


def test_rows_that_are_all_equal_cost_no_more_than_a_few_differences(monkeypatch):
    """A collapsed network draws one image only; every distance is then within rounding of every other."""
    computed = []
    plain = neighbours.pair_distances
    monkeypatch.setattr(neighbours, "pair_distances", lambda x, y, i, j: computed.append(len(i)) or plain(x, y, i, j))
    rows = torch.full((500, 8), 0.1).double()
    found = nearest_neighbours(rows, rows.split(100), 3, centre=torch.zeros(8), own_rows=torch.arange(500))
    assert bool((found.squared_distances == 0).all())
    assert found.rows[0].tolist() == [1, 2, 3]
    assert found.rows[499].tolist() == [0, 1, 2]
    assert sum(computed) <= 2 * 500 * 12


def test_float32_features_are_compared_as_they_are():
    queries, rows = vectors(0, 10, 8).float(), vectors(1, 30, 8).float()
    found = nearest_neighbours(queries, [rows], 4, centre=rows.mean(0))
    distances, indices = by_sorting(queries.double().numpy(), rows.double().numpy(), 4)
    assert found.rows.tolist() == indices
    np.testing.assert_allclose(found.squared_distances.numpy(), distances, rtol=1e-13)


def test_too_few_rows_are_refused():
    rows = vectors(0, 3, 2)
    with pytest.raises(ValueError, match="3 neighbours need at least 3 other rows; got 2"):
        nearest_neighbours(rows, [rows], 3, centre=rows[0], own_rows=torch.arange(3))
    with pytest.raises(ValueError, match="1 neighbours need at least 1 other rows; got 0"):
        nearest_neighbours(rows, [], 1, centre=rows[0])
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        nearest_neighbours(rows, [rows], 0, centre=rows[0])
