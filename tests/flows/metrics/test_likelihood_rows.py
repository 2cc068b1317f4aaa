"""The likelihood per image is what the figures are means of."""

import pytest
import torch

from flows.metrics.likelihood_rows import per_image
from flows.stages.evaluate.evaluation import evaluate
from tests.conftest import TinyRun, revised


def test_each_figure_is_the_mean_of_its_rows(tiny_run: TinyRun) -> None:
    rows = per_image(tiny_run.figures.manifest(tiny_run.store), tiny_run.store)
    assert rows.keys() == {"bits_per_dim_fixed_large", "bits_per_dim_fixed_small"}
    figures = {figure.name: figure for figure in tiny_run.figures.figures}
    for name, values in rows.items():
        assert (values.dtype, len(values)) == (torch.float64, 16)
        assert float(values.mean()) == pytest.approx(figures[name].value, rel=1e-12)
        assert float(values.std() / 4) == pytest.approx(figures[name].standard_error, rel=1e-12)


def test_every_kind_has_rows_averaged_over_draws(tiny_run: TinyRun) -> None:
    changes = {"likelihood": ["bound", "estimate", "flow"], "bpd_timesteps": 3, "flow_steps": 4, "bpd_draws": 2}
    config = revised(tiny_run.config.evaluate, {"metrics": ["bits_per_dim"], **changes})
    found = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    rows = per_image(found.manifest(tiny_run.store), tiny_run.store)
    headlines = {figure.name: figure for figure in found.figures if figure.headline}
    assert rows.keys() == headlines.keys()
    for name, values in rows.items():
        assert len(values) == 16
        assert float(values.mean()) == pytest.approx(headlines[name].value, rel=1e-12)
        assert float(values.std() / 4) == pytest.approx(headlines[name].standard_error, rel=1e-12)


def test_a_run_without_likelihood_has_none(tiny_run: TinyRun) -> None:
    config = revised(tiny_run.config.evaluate, {"metrics": ["fd"]})
    found = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    assert per_image(found.manifest(tiny_run.store), tiny_run.store) == {}
