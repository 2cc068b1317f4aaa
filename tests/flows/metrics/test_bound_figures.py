"""The bound estimated from a few timesteps through the evaluate stage, and figures of either kind."""

from collections.abc import Callable

import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.likelihood.estimate import estimate_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.rng import Stream, normal, uniform
from flows.artifacts import CURVES, Figures
from flows.pages.pictures import sample_grid
from flows.recipe.config import PipelineConfig
from flows.snapshot import decode_snapshot
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.report.sections import read_outputs, render_page
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, parse_manifest, read_verified
from tests.conftest import TinyRun


@pytest.fixture
def estimated(tiny_run: TinyRun) -> Figures:
    config = tiny_run.config.evaluate.model_copy(update={"bpd_timesteps": 3, "bpd_images": 12})
    return evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)


def bound_of(run: TinyRun, figures: Figures) -> Manifest:
    """The sealed bound that figures rest on."""
    folder = figures.manifest(run.store).facts["outputs"]["bound"]
    name = f"{folder}/manifests/all.json"
    return parse_manifest(run.store.read(name), item=name)


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
        found = estimated.metrics[f"eval/bits_per_dim_{variance.value}"]
        assert found == pytest.approx(float(result.total_bpd.mean()), rel=1e-5)
        error = float(result.total_bpd.std()) / 12**0.5
        assert estimated.metrics[f"eval/bits_per_dim_{variance.value}_stderr"] == pytest.approx(error, rel=1e-4)
        parts = (estimated.metrics[f"eval/{part}_bpd_{variance.value}"] for part in ("step", "decoder"))
        assert sum(parts) + estimated.metrics["eval/prior_bpd"] == pytest.approx(found)


def test_the_estimate_is_near_the_full_sum(tiny_run: TinyRun, estimated: Figures) -> None:
    full = evaluate(
        tiny_run.config.evaluate.model_copy(update={"bpd_images": 12}),
        tiny_run.dataset,
        tiny_run.snapshot,
        tiny_run.samples,
        tiny_run.context,
    )
    name = "eval/bits_per_dim_fixed_large"
    spread = estimated.metrics[f"{name}_stderr"] + full.metrics[f"{name}_stderr"]
    assert abs(estimated.metrics[name] - full.metrics[name]) < 4 * spread
    assert estimated.metrics["eval/fd_pixels"] == full.metrics["eval/fd_pixels"]


def test_an_estimate_has_no_curves_and_says_what_it_is(tiny_run: TinyRun, estimated: Figures) -> None:
    from dataclasses import replace

    manifest = estimated.manifest(tiny_run.store)
    kinds = [unit["facts"].get("kind") for unit in manifest.units]
    assert CURVES not in kinds
    assert [unit["file"].split("/")[0] for unit in bound_of(tiny_run, estimated).units] == [
        "proposal",
        "units",
        "units",
    ]
    assert "eval/eps_mse" not in estimated.metrics
    outputs = read_outputs(tiny_run.store, replace(tiny_run.finished, figures=estimated))
    page = render_page("x", outputs, sample_grid(outputs.drawn), {})
    assert "estimated upper bound" in page
    assert "Rate and distortion" not in page
    assert "Terms of the bound" in page


def test_a_lost_unit_is_done_again_with_the_same_proposal(tiny_run: TinyRun, estimated: Figures) -> None:
    manifest = bound_of(tiny_run, estimated)
    for name in (estimated.name, manifest.name):
        tiny_run.store.delete(name)
    lost = manifest.units[1]
    for name in tiny_run.store.list(manifest.folder):
        if name.endswith((lost["file"], "units/000000.json")):
            tiny_run.store.delete(name)
    config = tiny_run.config.evaluate.model_copy(update={"bpd_timesteps": 3, "bpd_images": 12})
    again = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    assert again.digest == estimated.digest


def test_an_estimate_of_all_timesteps_is_refused(tiny: PipelineConfig) -> None:
    values = tiny.model_dump(mode="json")
    values["evaluate"]["bpd_timesteps"] = 20
    with pytest.raises(ValueError, match=r"below train.num_timesteps \(20\), or 0 for all; got 20"):
        PipelineConfig.model_validate(values)
