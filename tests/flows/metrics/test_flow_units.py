"""The flow's likelihood through the evaluate stage: the core's, on any machine's units, refused without an end."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ddpm_core.images import to_model_range
from ddpm_core.likelihood.flow import dequantised, flow_bits_per_dim, flow_nodes
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, signs, uniform
from ddpm_core.schedule import NoiseSchedule
from flows.artifacts import Figures
from flows.metrics import flow_units
from flows.metrics.flow_units import flow_terms
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from flows.recipe.config import PipelineConfig
from flows.snapshot import decode_snapshot
from flows.stages.evaluate.evaluation import evaluate
from infra.errors import ConfigError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun, revised

FLOW = {"metrics": ["bits_per_dim"], "likelihood": ["flow"], "flow_steps": 6, "bpd_images": 12}


def figures_of(run: TinyRun, **changes: object) -> Figures:
    config = revised(run.config.evaluate, FLOW | changes)
    return evaluate(config, run.dataset, run.snapshot, run.samples, run.context)


@pytest.fixture
def inputs(tiny_run: TinyRun) -> Callable[..., Inputs]:
    def make(**changes: int) -> Inputs:
        settings: dict[str, object] = {"images": 12, "batch_size": 8, "seed": 0, "flow_steps": 6, "threads": 1}
        return Inputs(
            settings=LikelihoodSettings(**settings | changes, device="cpu"),
            dataset=tiny_run.dataset.manifest(tiny_run.store),
            trained=tiny_run.snapshot.manifest(tiny_run.store),
            store=tiny_run.store,
        )

    return make


def test_the_figure_is_the_cores(tiny_run: TinyRun) -> None:
    """All images at once, from the second draw's numbers for the second draw."""
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    network, schedule, *_ = decode_snapshot(read_verified(tiny_run.store, trained.folder, trained.units[0]), "s")
    reader = DatasetReader(store=tiny_run.store, manifest=tiny_run.dataset.manifest(tiny_run.store))
    x_start = to_model_range(torch.from_numpy(reader.load("test", limit=12)[0]))
    ids, shape = torch.arange(12), (1, 8, 8)
    draws = [
        flow_bits_per_dim(
            network,
            flow_nodes(schedule, 6),
            dequantised(x_start, uniform(0, Stream.DEQUANTISATION, ids, shape, step=draw)),
            probe=lambda t, draw=draw: signs(0, Stream.FLOW_PROBE, ids, shape, step=20 * draw + t),
        )
        for draw in range(2)
    ]
    one, two = figures_of(tiny_run).metrics, figures_of(tiny_run, bpd_draws=2).metrics
    assert one["eval/bits_per_dim_flow"] == pytest.approx(float(draws[0].mean()), rel=1e-4)
    assert one["eval/bits_per_dim_flow_stderr"] == pytest.approx(float(draws[0].std()) / 12**0.5, rel=1e-3)
    assert two["eval/bits_per_dim_flow"] == pytest.approx(float(torch.stack(draws).mean()), rel=1e-4)
    assert "eval/bits_per_dim_flow_noise_stderr" in two.keys() - one.keys()


def test_an_image_has_the_same_bits_in_every_unit_and_slice(
    inputs: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices of four, also where a batch ends within one: memory is that of a slice, and no bit depends on the cut."""
    sizes: list[int] = []

    def solve(model: Model, schedule: NoiseSchedule, x_start: torch.Tensor, **more: Any) -> torch.Tensor:
        sizes.append(len(x_start))
        return flow_bits_per_dim(model, schedule, x_start, **more)

    monkeypatch.setattr(flow_units, "_GRADIENT_IMAGES", 4)
    monkeypatch.setattr(flow_units, "flow_bits_per_dim", solve)
    whole = flow_terms(inputs(), 0, 11)["total_bpd_flow"]
    parts = [flow_terms(inputs(), start, stop)["total_bpd_flow"] for start, stop in ((8, 11), (0, 8))]
    assert whole.shape == (11,)
    assert torch.equal(whole, torch.cat(parts[::-1]))
    assert sizes == [4] * 6, "a slice is filled up, because other shapes may round differently"
    assert not torch.equal(whole, flow_terms(inputs(draw=1), 0, 11)["total_bpd_flow"])


def test_more_steps_are_nearer_to_all(tiny_run: TinyRun) -> None:
    found = {
        steps: figures_of(tiny_run, flow_steps=steps).metrics["eval/bits_per_dim_flow"] for steps in (4, 12, 20, 100)
    }
    assert found[20] == found[100], "T = 20 are all"
    assert abs(found[12] - found[20]) < abs(found[4] - found[20])


def test_a_schedule_that_ends_at_nothing_is_refused_before_training(tiny: PipelineConfig) -> None:
    values = tiny.model_dump(mode="json")
    values["evaluate"] |= FLOW
    PipelineConfig.model_validate(values)
    values["train"] |= {"zero_terminal_snr": True, "parameterisation": "v"}
    with pytest.raises(ValueError, match="likelihood flow ends at infinite noise if alpha-bar_T is 0"):
        PipelineConfig.model_validate(values)
    values["evaluate"] |= {"metrics": ["fd"]}
    PipelineConfig.model_validate(values)


def test_a_network_with_such_a_schedule_is_refused_in_one_line(inputs: Callable[..., Inputs]) -> None:
    found = inputs()
    betas = found.snapshot.schedule.betas.clone()
    betas[-1] = 1
    schedule = type(found.snapshot.schedule)(betas=betas, timesteps=found.snapshot.schedule.timesteps)
    vars(found)["snapshot"] = found.snapshot._replace(schedule=schedule)
    with pytest.raises(ConfigError, match="ends at infinite noise") as caught:
        flow_terms(found, 0, 8)
    assert (caught.value.exit_code, caught.value.item, caught.value.remedy) == (
        2,
        "evaluate.likelihood",
        "leave flow out",
    )
