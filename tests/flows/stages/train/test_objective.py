"""Every parameterisation, loss, variance and condition through all four stages, against the core called by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.guidance import with_guidance, with_labels
from ddpm_core.images import to_model_range, to_uint8
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.schedule import respace
from flows.recipe.config import PipelineConfig
from flows.run_record import FinishedRun
from flows.snapshot import TrainedNetwork, decode_snapshot
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.prepare.preparation import prepare
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.errors import ConfigError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun, revised

RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "v, min-SNR": {"train": {"parameterisation": "v", "loss": "min_snr"}},
    "x_0": {"train": {"parameterisation": "x_start"}, "sample": {"sampler": "ddim"}},
    "the bound": {"train": {"loss": "bound"}},
    "learned range": {
        "train": {"variance": "learned_range", "loss": "hybrid", "num_heads": 2, "scale_shift_norm": True},
        "sample": {"variance": "learned"},
    },
    "learned, fixed in sampling": {"train": {"variance": "learned", "loss": "bound"}},
    "classes": {"train": {"class_conditional": True}, "sample": {"guidance_scale": 3.0}},
    "one class": {"train": {"class_conditional": True, "label_dropout": 0.0}, "sample": {"label": 7}},
    "nothing left at T": {
        "train": {"parameterisation": "v", "zero_terminal_snr": True},
        "sample": {"sampler": "ddim", "eta": 0.5},
    },
    "Sohl-Dickstein's": {"train": {"parameterisation": "v", "schedule": "jsd"}},
}


@pytest.fixture(params=RUNS, ids=lambda name: name.replace(" ", "-"))
def changed(request: pytest.FixtureRequest, tiny: PipelineConfig) -> PipelineConfig:
    """The tiny config with the run's settings, checked as a user's are."""
    values = tiny.model_dump(mode="json")
    values["train"] |= {"images": 256, "channel_mults": [1, 2], "attention_resolutions": [4], "num_res_blocks": 1}
    for stage, settings in RUNS[request.param].items():
        values[stage] |= settings
    return PipelineConfig.model_validate(values)


def run(config: PipelineConfig, context: Context) -> FinishedRun:
    dataset = prepare(config.prepare, context)
    snapshot = train(config.train, dataset, context)
    samples = sample(config.sample, snapshot, context)
    figures = evaluate(config.evaluate, dataset, snapshot, samples, context)
    return FinishedRun(dataset=dataset, snapshot=snapshot, samples=samples, figures=figures)


def load(finished: FinishedRun, context: Context) -> TrainedNetwork:
    trained = finished.snapshot.manifest(context.store)
    return decode_snapshot(read_verified(context.store, trained.folder, trained.units[0]), "snapshot")


def by_hand(config: PipelineConfig, snapshot: TrainedNetwork, ids: Tensor) -> Tensor:
    """The images of these numbers, from the settings' meaning."""
    network, settings = snapshot.network, config.sample
    chain = respace(snapshot.schedule, settings.num_steps)
    model: Callable[..., Tensor] = network
    if network.config.num_classes:
        labels = ids % 10 if settings.label < 0 else torch.full_like(ids, settings.label)
        model = with_guidance(network, labels, 10, settings.guidance_scale, 1)
    variance = snapshot.variance if settings.variance == "learned" else Variance(settings.variance)
    assert variance is not None

    def told(x_t: Tensor, t: Tensor) -> Tensor:
        return model(x_t, t) if variance.is_learned else model(x_t, t)[:, :1]

    more: dict[str, Any] = {
        "noise": lambda t: normal(settings.seed, Stream.Z_T, ids, (1, 8, 8), step=t),
        "parameterisation": Parameterisation(config.train.parameterisation),
    }
    start = normal(settings.seed, Stream.X_T, ids, (1, 8, 8))
    if settings.sampler == "ddim":
        return ddim_sample(told, chain, start, eta=settings.eta, **more)
    return ddpm_sample(told, chain, start, variance=variance, **more)


def test_a_run_is_what_its_settings_say(changed: PipelineConfig, make_context: Callable[..., Context]) -> None:
    context = make_context()
    finished = run(changed, context)
    snapshot = load(finished, context)
    assert snapshot.parameterisation.value == changed.train.parameterisation

    drawn, labels = DatasetReader(store=context.store, manifest=finished.samples.manifest(context.store)).load(
        "samples"
    )
    ids = torch.arange(8, 16)
    with torch.no_grad():
        expected = to_uint8(by_hand(changed, snapshot, ids))
        check_bound(changed, finished, snapshot, context)
    assert int((torch.from_numpy(drawn[8:16]).int() - expected.int()).abs().max()) <= 1, "the second unit"
    if changed.train.class_conditional:
        wanted = [7] * 24 if changed.sample.label == 7 else [i % 10 for i in range(24)]
        assert labels.tolist() == wanted
    else:
        assert set(labels.tolist()) == {-1}


def check_bound(config: PipelineConfig, finished: FinishedRun, snapshot: TrainedNetwork, context: Context) -> None:
    data, classes = DatasetReader(store=context.store, manifest=finished.dataset.manifest(context.store)).load("test")
    images, ids = to_model_range(torch.from_numpy(data[:16])), torch.arange(16)
    learned = [snapshot.variance.value] if snapshot.variance else []
    assert list(finished.figures.starting_with("bits_per_dim_")) == sorted(["fixed_small", "fixed_large", *learned])
    network = snapshot.network
    told = with_labels(network, torch.from_numpy(classes[:16]).long()) if network.config.num_classes else network
    for name in finished.figures.starting_with("bits_per_dim_"):
        variance = Variance(name)

        def model(x_t: Tensor, t: Tensor, variance: Variance = variance) -> Tensor:
            return told(x_t, t) if variance.is_learned else told(x_t, t)[:, :1]

        expected = bits_per_dim(
            model,
            snapshot.schedule,
            images,
            noise=lambda t: normal(config.evaluate.seed, Stream.NLL, ids, (1, 8, 8), step=t),
            variance=variance,
            parameterisation=snapshot.parameterisation,
        )
        found = finished.figures.metrics[f"eval/bits_per_dim_{name}"]
        assert found == pytest.approx(float(expected.total_bpd.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"zero_terminal_snr": True}}, r"parameterisation eps .*zero_terminal_snr\); set it to v"),
        ({"train": {"schedule": "jsd"}}, r"parameterisation eps .*schedule jsd\); set it to v"),
        ({"train": {"loss": "hybrid"}}, "loss hybrid needs a learned train.variance"),
        ({"train": {"variance": "learned"}}, "learned is not learned by the simple loss"),
        ({"train": {"variance": "learned_range", "loss": "min_snr"}}, "not learned by the min_snr loss"),
        ({"sample": {"variance": "learned"}}, "sample.variance learned needs a network that learns one"),
        ({"sample": {"guidance_scale": 2.0}}, "need a network with classes"),
        ({"sample": {"label": 3}}, "need a network with classes"),
        (
            {"train": {"class_conditional": True, "label_dropout": 0.0}, "sample": {"guidance_scale": 2.0}},
            "also trained without labels",
        ),
        ({"train": {"schedule": "jsd", "parameterisation": "v"}, "sample": {"sampler": "ode"}}, "infinite noise"),
        ({"train": {"num_heads": 3}}, "num_heads must divide base_channels"),
        (
            {
                "train": {"variance": "learned_range", "loss": "hybrid"},
                "sample": {"variance": "learned", "sampler": "ddim"},
            },
            "ddim does not use it",
        ),
        ({"train": {"loss": "min_snr", "zero_terminal_snr": True, "parameterisation": "v"}}, "has weight 0"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together(tiny: PipelineConfig, change: dict[str, dict[str, Any]], said: str) -> None:
    values = tiny.model_dump(mode="json")
    for stage, settings in change.items():
        values[stage] |= settings
    with pytest.raises(ValueError, match=said):
        PipelineConfig.model_validate(values)


def test_a_class_that_the_network_does_not_know(tiny: PipelineConfig, make_context: Callable[..., Context]) -> None:
    context, settings = make_context(), {"images": 64, "class_conditional": True}
    small = revised(tiny.train, settings | {"channel_mults": [1], "attention_resolutions": []})
    snapshot = train(small, prepare(tiny.prepare, context), context)
    with pytest.raises(ConfigError, match="below the network's 10 classes; got 10"):
        sample(tiny.sample.model_copy(update={"label": 10}), snapshot, context)


def test_classes_are_not_made_up(tiny_run: TinyRun, tiny: PipelineConfig, make_context: Callable[..., Context]) -> None:
    from dataclasses import replace

    without = replace(tiny_run.dataset, class_names=())
    with pytest.raises(ConfigError, match="no labels to condition the network on"):
        train(tiny.train.model_copy(update={"class_conditional": True}), without, tiny_run.context)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"num_timesteps": 20_000, "beta_end": 0.02, "beta_start": 1e-4},
            "leaves too little of an image, alpha-bar 1e-88",
        ),
        ({"num_timesteps": 1000, "schedule": "constant", "beta_end": 0.2}, "leaves too little of an image"),
        ({"num_timesteps": 1000, "beta_end": 0.97}, "leaves too little of an image"),
        (
            {"num_timesteps": 1000, "beta_end": 0.97, "parameterisation": "v", "zero_terminal_snr": True},
            "betas must lie in",
        ),
    ],
    ids=str,
)
def test_a_schedule_that_leaves_nothing_is_refused_before_training(
    tiny_run: TinyRun, change: dict[str, Any], said: str
) -> None:
    config = revised(tiny_run.config.train, change)
    with pytest.raises(ConfigError, match=said):
        train(config, tiny_run.dataset, tiny_run.context)


def test_learned_variances_go_through_every_sampler(tiny: PipelineConfig, make_context: Callable[..., Context]) -> None:
    """Not asked for, the variance's channels are left out."""
    context, settings = make_context(), {"images": 64, "variance": "learned_range", "loss": "hybrid"}
    small = revised(tiny.train, settings | {"channel_mults": [1], "attention_resolutions": []})
    snapshot = train(small, prepare(tiny.prepare, context), context)
    for sampler in ("ddim", "ode"):
        assert sample(revised(tiny.sample, {"sampler": sampler}), snapshot, context).count == 24
