"""The likelihood per image is what the figures are means of."""

import pytest
import torch

from flows.metrics.likelihood_rows import per_image
from tests.conftest import TinyRun


def test_each_figure_is_the_mean_of_its_rows(tiny_run: TinyRun) -> None:
    rows = per_image(tiny_run.figures.manifest(tiny_run.store), tiny_run.store)
    assert rows.keys() == {"bits_per_dim_fixed_large", "bits_per_dim_fixed_small"}
    figures = {figure.name: figure for figure in tiny_run.figures.figures}
    for name, values in rows.items():
        assert (values.dtype, len(values)) == (torch.float64, 16)
        assert float(values.mean()) == pytest.approx(figures[name].value, rel=1e-12)
        assert float(values.std() / 4) == pytest.approx(figures[name].standard_error, rel=1e-12)
