"""The likelihoods as outputs: each with its own key, equal bits in any order and cut at any unit, no unit twice."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flows.artifacts import Figures
from flows.metrics.choices import Likelihood
from flows.metrics.likelihood_works import likelihood_work
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from infra.compute.cluster import Cluster
from infra.outputs.manifest import Manifest, parse_manifest, verify
from tests.conftest import TinyRun, revised
from tests.flows.metrics.subjects import subject

ALL = {
    "metrics": ["bits_per_dim"],
    "likelihood": ["bound", "estimate", "flow"],
    "bpd_images": 12,
    "bpd_timesteps": 3,
    "flow_steps": 5,
    "bpd_draws": 2,
}
# The proposal, and for one draw of three kinds two batches each.
UNITS = 1 + 3 * 2


@dataclass
class Arranged(Cluster):
    """Runs units in this process in another order, and ends after some of them."""

    order: Callable[[Sequence[int]], Sequence[int]] = tuple
    budget: int = 10**6
    ran: list[int] = field(default_factory=list)

    def run_units(self, task: Any, units: Sequence[int], **more: Any) -> None:
        chosen = tuple(self.order(units))[: self.budget]
        self.budget -= len(chosen)
        self.ran += chosen
        super().run_units(task, chosen, **more)
        if len(chosen) < len(units):
            raise KeyboardInterrupt


def measured(run: TinyRun, cluster: Cluster | None = None, **changes: object) -> Figures:
    config = revised(run.config.evaluate, ALL | changes)
    context = replace(run.context, cluster=cluster or Arranged(mode="in-process"))
    return evaluate(config, run.dataset, run.snapshot, run.samples, context)


def outputs(run: TinyRun, figures: Figures) -> dict[str, Manifest]:
    folders = figures.manifest(run.store).facts["outputs"]
    names = {label: f"{folder}/manifests/all.json" for label, folder in folders.items()}
    return {label: parse_manifest(run.store.read(name), item=name) for label, name in names.items()}


def forced(run: TinyRun) -> TinyRun:
    return replace(run, context=replace(run.context, force=True))


def test_the_three_are_a_table_with_errors(tiny_run: TinyRun) -> None:
    figures = measured(tiny_run).figures
    table = [figure for figure in figures if figure.headline]
    assert [figure.label for figure in table] == [
        "bits/dim, fixed large",
        "bits/dim, fixed small",
        "bits/dim, estimate, fixed large",
        "bits/dim, estimate, fixed small",
        "bits/dim, flow",
    ]
    assert all(figure.standard_error and figure.note.endswith("2 draws of noise") for figure in table)
    assert list(figures[: len(table)]) == table, "the headlines come first"
    errors = {figure.name for figure in figures if figure.name.endswith("_noise_stderr")}
    assert errors == {f"{figure.name}_noise_stderr" for figure in table}


def test_each_is_an_output_of_its_own_that_other_choices_share(tiny_run: TinyRun) -> None:
    together = outputs(tiny_run, measured(tiny_run))
    assert set(together) == {"proposal", "bound", "bound_2", "estimate", "estimate_2", "flow", "flow_2"}
    for manifest in together.values():
        verify(tiny_run.store, manifest)
    alone = Arranged(mode="in-process")
    flow = measured(tiny_run, alone, likelihood=["flow"], bpd_draws=1, bpd_timesteps=4)
    assert alone.ran == [], "the first draw is sealed already"
    assert outputs(tiny_run, flow) == {"flow": together["flow"]}
    more = Arranged(mode="in-process")
    measured(tiny_run, more, bpd_draws=3, likelihood=["bound"])
    assert len(more.ran) == 2, "two batches of the third draw"


def test_the_default_bound_keeps_its_key(tiny_run: TinyRun) -> None:
    """As before there was a choice: settings that differ from their defaults, and nothing about the other kinds."""
    about = subject(tiny_run, {"bpd_timesteps": 7, "flow_steps": 9, "bpd_draws": 3, "likelihood": ["bound", "flow"]})
    plan = likelihood_work(about, Likelihood.BOUND, 0).plan
    assert (plan.stage, plan.format_version) == ("bound", 5)
    assert plan.settings == {"bpd_images": 16, "batch_size": 8}
    assert likelihood_work(about, Likelihood.FLOW, 2).plan.settings == plan.settings | {"flow_steps": 9, "draw": 2}


@pytest.mark.parametrize("order", [lambda units: units[::-1], lambda units: [*units[1:], *units]])
def test_any_order_of_the_units_gives_the_same_bits(tiny_run: TinyRun, order: Callable[..., Any]) -> None:
    """Workers are processes that take units one by one, so their number decides the order and nothing else."""
    once = measured(tiny_run)
    again = measured(forced(tiny_run), Arranged(mode="in-process", order=order))
    assert again.name != once.name
    assert again.digest == once.digest
    digests = [{label: one.digest for label, one in outputs(tiny_run, figures).items()} for figures in (once, again)]
    assert digests[0] == digests[1]


def test_cut_after_any_unit_it_goes_on_from_there(
    tiny_run: TinyRun, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    roots = [tmp_path / str(stop) for stop in range(1, UNITS)]
    for root in roots:
        shutil.copytree(tiny_run.root, root)
    whole = measured(tiny_run, bpd_draws=1).digest
    for stop, root in enumerate(roots, 1):
        run, rest = replace(tiny_run, context=make_context(root)), Arranged(mode="in-process")
        with pytest.raises(KeyboardInterrupt):
            measured(run, Arranged(mode="in-process", budget=stop), bpd_draws=1)
        assert measured(run, rest, bpd_draws=1).digest == whole
        assert len(rest.ran) == UNITS - stop, "no unit is done twice"
