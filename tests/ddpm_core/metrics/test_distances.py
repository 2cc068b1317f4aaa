import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from ddpm_core.metrics import distances
from ddpm_core.metrics.distances import distance_table, pair_distances


def vectors(seed: int, count: int, dim: int, mean: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(count, dim, generator=generator, dtype=torch.float64)


@given(mean=st.sampled_from([0.0, 1e2, 1e6]), scale=st.sampled_from([1e-3, 1.0]), away=st.sampled_from([0.0, 1.0, 1e3]))
def test_the_bound_holds_against_differences_in_extended_precision(mean, scale, away):
    x, y = vectors(0, 12, 30, mean, scale), vectors(1, 9, 30, mean, scale)
    y[0] = x[3]
    table, slack = distance_table(x, y, x.mean(0) + away)
    wide_x, wide_y = x.numpy().astype(np.longdouble), y.numpy().astype(np.longdouble)
    exact = ((wide_x[:, None] - wide_y) ** 2).sum(2)
    assert (np.abs(table.numpy() - exact) <= slack.numpy()[:, None]).all()
    assert bool((table >= 0).all())


def test_a_centre_near_the_mean_keeps_the_bound_small():
    x = vectors(0, 12, 30, mean=1e4)
    near, far = (distance_table(x, x, centre)[1] for centre in (x.mean(0), torch.zeros(30)))
    assert float(far.min()) > 1e6 * float(near.max())


def test_pairs_are_scipys_and_copies_are_at_0(monkeypatch):
    x, y = vectors(0, 12, 5, mean=1e6), vectors(1, 9, 5, mean=1e6)
    y[4] = x[7]
    rows, columns = (grid.flatten() for grid in torch.meshgrid(torch.arange(12), torch.arange(9), indexing="ij"))
    found = pair_distances(x, y, rows, columns)
    np.testing.assert_allclose(found.numpy(), cdist(x, y, "sqeuclidean").flatten(), rtol=1e-12)
    assert float(found[7 * 9 + 4]) == 0
    assert torch.equal(found, pair_distances(y, x, columns, rows))
    monkeypatch.setattr(distances, "_ELEMENTS", 17)
    assert torch.equal(found, pair_distances(x, y, rows, columns))


def test_no_vectors_have_an_empty_table():
    table, slack = distance_table(vectors(0, 3, 2), torch.empty(0, 2), torch.zeros(2))
    assert (table.shape, slack.shape) == ((3, 0), (3,))
    nothing = torch.empty(0, dtype=torch.int64)
    assert len(pair_distances(vectors(0, 3, 2), vectors(1, 3, 2), nothing, nothing)) == 0


def test_float32_vectors_are_compared_in_float64():
    x = (vectors(0, 6, 4) + 1000).float()
    table, _ = distance_table(x, x, x.mean(0))
    assert table.dtype == torch.float64
    np.testing.assert_allclose(table.numpy(), cdist(x.double(), x.double(), "sqeuclidean"), atol=1e-9)
    assert float(pair_distances(x, x, torch.tensor([0]), torch.tensor([1]))) == pytest.approx(
        float(((x[0].double() - x[1].double()) ** 2).sum()), rel=1e-15
    )
