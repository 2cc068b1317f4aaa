"""The bound estimated from a few timesteps through the evaluate stage: the core's, and near the full sum."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.likelihood.estimate import estimate_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.rng import Stream, normal, uniform
from flows.artifacts import CURVES, Figures
from flows.metrics.estimate_units import proposal_timesteps
from flows.recipe.config import PipelineConfig
from flows.snapshot import decode_snapshot
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.sections import render_page
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun, revised

ESTIMATE = {"likelihood": ["estimate"], "bpd_timesteps": 3, "bpd_images": 12}


def figures_of(run: TinyRun, **changes: object) -> Figures:
    config = revised(run.config.evaluate, changes)
    return evaluate(config, run.dataset, run.snapshot, run.samples, run.context)


@pytest.fixture
def estimated(tiny_run: TinyRun) -> Figures:
    return figures_of(tiny_run, **ESTIMATE)


def images(run: TinyRun, split: str, count: int) -> torch.Tensor:
    reader = DatasetReader(store=run.store, manifest=run.dataset.manifest(run.store))
    return to_model_range(torch.from_numpy(reader.load(split, limit=count)[0]))


@torch.no_grad()
def test_the_estimate_is_the_cores(tiny_run: TinyRun, estimated: Figures) -> None:
    """The proposal from the first batch of the training split under streams of its own, the images in two batches."""
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    network, schedule, *_ = decode_snapshot(read_verified(tiny_run.store, trained.folder, trained.units[0]), "s")
    seed, shape = tiny_run.config.evaluate.seed, (1, 8, 8)

    def noise(stream: Stream, ids: torch.Tensor) -> Callable[[int], torch.Tensor]:
        return lambda t: normal(seed, stream, ids, shape, step=t)

    first = torch.arange(8)
    fitted = bits_per_dim(
        network,
        schedule,
        images(tiny_run, "train", 8),
        noise=noise(Stream.NLL_PROPOSAL, first),
        variance=Variance.FIXED_LARGE,
    )
    # At T = 20 the 64 timesteps of the fit are all there are.
    proposal = TimestepProposal.of_second_moments((fitted.step_bpd**2).mean(0), uniform_share=0.05)
    assert estimated.counts["bpd_timesteps"] == 3
    ids = torch.arange(12)
    results = estimate_bits_per_dim(
        network,
        schedule,
        images(tiny_run, "test", 12),
        noise=noise(Stream.NLL, ids),
        uniforms=uniform(seed, Stream.NLL_T, ids, (3,)).double(),
        proposal=proposal,
        variances=FIXED_VARIANCES,
    )
    for variance, result in zip(FIXED_VARIANCES, results, strict=True):
        name = f"estimate_{variance.value}"
        found = estimated.metrics[f"eval/bits_per_dim_{name}"]
        assert found == pytest.approx(float(result.total_bpd.mean()), rel=1e-5)
        error = float(result.total_bpd.std()) / 12**0.5
        assert estimated.metrics[f"eval/bits_per_dim_{name}_stderr"] == pytest.approx(error, rel=1e-4)
        parts = (estimated.metrics[f"eval/{part}_bpd_{name}"] for part in ("step", "decoder"))
        assert sum(parts) + estimated.metrics["eval/prior_bpd"] == pytest.approx(found)


def test_the_estimate_is_near_the_full_sum(tiny_run: TinyRun, estimated: Figures) -> None:
    full = figures_of(tiny_run, bpd_images=12).metrics
    name = "eval/bits_per_dim_{}fixed_large{}"
    spread = estimated.metrics[name.format("estimate_", "_stderr")] + full[name.format("", "_stderr")]
    assert abs(estimated.metrics[name.format("estimate_", "")] - full[name.format("", "")]) < 4 * spread
    assert estimated.metrics["eval/fd_pixels"] == full["eval/fd_pixels"]


def test_an_estimate_has_no_curves_and_says_what_it_is(tiny_run: TinyRun, estimated: Figures) -> None:
    kinds = [unit["facts"].get("kind") for unit in estimated.manifest(tiny_run.store).units]
    assert CURVES not in kinds
    assert "eval/eps_mse" not in estimated.metrics
    outputs = read_outputs(tiny_run.store, replace(tiny_run.finished, figures=estimated))
    page = render_page("x", outputs, draw(outputs), {})
    assert "estimated upper bound" in page
    assert "3 timesteps per image" in page
    assert "Rate and distortion" not in page
    assert "Terms of the bound" in page


def test_all_estimates_share_one_proposal(tiny_run: TinyRun, estimated: Figures) -> None:
    """Timesteps, images and draws of noise do not change the fit; only the seed and the batch do."""
    more = figures_of(tiny_run, **ESTIMATE | {"bpd_timesteps": 4, "bpd_images": 9, "bpd_draws": 2})
    other = figures_of(tiny_run, **ESTIMATE | {"seed": 1})
    folders = [one.manifest(tiny_run.store).facts["outputs"]["proposal"] for one in (estimated, more, other)]
    assert folders[0] == folders[1] != folders[2]


def test_an_estimate_of_all_timesteps_is_refused_if_it_is_chosen(tiny: PipelineConfig) -> None:
    values = tiny.model_dump(mode="json")
    values["evaluate"] |= {"bpd_timesteps": 20}
    PipelineConfig.model_validate(values)
    values["evaluate"] |= {"likelihood": ["estimate"]}
    with pytest.raises(ValueError, match=r"below train.num_timesteps \(20\); got 20"):
        PipelineConfig.model_validate(values)
    values["evaluate"] |= {"metrics": ["fd"]}
    PipelineConfig.model_validate(values)


@pytest.mark.parametrize("num_timesteps", [2, 3, 20, 65, 1000, 4000])
def test_the_fits_timesteps_are_few_and_reach_both_ends(num_timesteps: int) -> None:
    timesteps = proposal_timesteps(num_timesteps)
    assert int(timesteps[0]) == 1
    assert int(timesteps[-1]) == num_timesteps - 1
    assert bool((timesteps.diff() > 0).all())
    assert len(timesteps) <= 64
    if num_timesteps <= 20:
        assert timesteps.tolist() == list(range(1, num_timesteps))
