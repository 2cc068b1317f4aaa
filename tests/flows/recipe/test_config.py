"""Every setting has a role, and the stage key changes with the result settings and with nothing else."""

import itertools
from typing import Any

import pytest
from pydantic import Field, ValidationError

from flows.recipe.config import PipelineConfig
from flows.stage_config import StageConfig
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare.config import PrepareConfig
from flows.stages.sample.config import SampleConfig
from flows.stages.train.config import TrainConfig
from infra.digests import canonical_json
from infra.outputs.plan import Plan
from tests.flows.toggles import toggled

STAGES = (PrepareConfig, TrainConfig, SampleConfig, EvaluateConfig)
# What design.md section 3.4 says: how and where, inputs that count by their digests, and what only extends work.
EXECUTION = {
    "workers",
    "source",
    "test_source",
    "initial",
    "max_bad_fraction",
    "device",
    "checkpoint_images",
    "checkpoint_minutes",
    "history_images",
    "history_seconds",
    "watch_images",
    "watch_minutes",
    "averages",
    "watch_share",
    "watch_samples",
    "keep_checkpoints",
    "activation_checkpointing",
    "deterministic",
    "extractor_weights",
    "reference_statistics",
}
GOALS = {"images", "count"}
FIELDS = [(stage, name) for stage in STAGES for name in stage.model_fields]


def key(config: StageConfig) -> str:
    return Plan(stage="s", format_version=1, settings=config.key_settings(), inputs={}).key


# What a setting needs beside it to have an effect.
BESIDE = {
    "min_snr_gamma": {"parameterisation": "v", "loss": "min_snr"},
    "eta": {"sampler": "ddim"},
    "variance": {"sampler": "ddpm"},
    "extractor_sha256": {"extractor": "inception", "extractor_weights": "w.pth"},
    "bpd_timesteps": {"likelihood": ["estimate"]},
    "ema_lengths": {"metrics": ["ema_lengths"]},
    "flow_steps": {"likelihood": ["flow"]},
}


def base(stage: type[StageConfig], name: str = "") -> StageConfig:
    """A config whose setting can be changed alone and has an effect; only the bound learns a variance or none."""
    if stage is TrainConfig:
        return TrainConfig(
            **({"parameterisation": "v", "loss": "bound", "class_conditional": True} | BESIDE.get(name, {}))
        )
    return stage(**BESIDE.get(name, {})) if stage in (SampleConfig, EvaluateConfig) else stage()


@pytest.mark.parametrize(("stage", "name"), FIELDS, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_the_key_changes_with_result_settings_alone(stage: type[StageConfig], name: str) -> None:
    config = base(stage, "" if stage is TrainConfig and name == "variance" else name)
    other = toggled(config, name)
    assert getattr(other, name) != getattr(config, name)
    if name in EXECUTION | GOALS:
        assert key(other) == key(config)
    else:
        assert key(other) != key(config)


def test_every_toggle_gives_a_key_of_its_own() -> None:
    for stage in STAGES:
        config = base(stage)
        names = stage.model_fields.keys() - EXECUTION - GOALS - config.unused()
        changed = [toggled(config, name) for name in names]
        assert len({key(c) for c in [config, *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("stage", STAGES)
def test_a_new_setting_changes_no_key(stage: type[StageConfig]) -> None:
    class Later(stage):  # type: ignore[misc, valid-type]
        curvature: float = Field(0.5, description="A setting of the next version")

    assert key(Later()) == key(stage())
    for name in stage.model_fields.keys() - EXECUTION - GOALS:
        changed = toggled(base(stage, "" if stage is TrainConfig and name == "variance" else name), name)
        assert key(Later(**changed.model_dump())) == key(changed)
    assert key(Later(curvature=0.25)) != key(stage())


@pytest.mark.parametrize(
    ("config", "other"),
    [
        (SampleConfig(sampler="ode"), SampleConfig(sampler="ode", variance="fixed_small", clip_x_start=False)),
        (SampleConfig(sampler="ddim"), SampleConfig(sampler="ddim", variance="fixed_small")),
        (TrainConfig(), TrainConfig(min_snr_gamma=1.0, label_dropout=0.5)),
        (TrainConfig(schedule="cosine"), TrainConfig(schedule="cosine", beta_start=1e-3, beta_end=0.5)),
        (EvaluateConfig(extractor="pixels"), EvaluateConfig(extractor="pixels", extractor_sha256="0" * 64)),
        (
            EvaluateConfig(metrics=["bits_per_dim"]),
            EvaluateConfig(metrics=["bits_per_dim"], extractor="inception", extractor_sha256="0" * 64),
        ),
    ],
)
def test_a_setting_without_effect_changes_no_key(config: StageConfig, other: StageConfig) -> None:
    assert other != config
    assert key(other) == key(config)


def test_heads_have_an_effect_without_attention_at_any_size() -> None:
    """The block in the middle of the network attends at every size."""
    one, four = (TrainConfig(attention_resolutions=[], num_heads=heads) for heads in (1, 4))
    assert key(one) != key(four)


def test_goals() -> None:
    assert TrainConfig(images=7).goals() == {"images": 7}
    assert SampleConfig(count=9).goals() == {"count": 9}
    assert PrepareConfig().goals() == EvaluateConfig().goals() == {}


def test_result_settings_are_json() -> None:
    for stage in STAGES:
        settings = stage().result_settings()
        assert settings.keys() == stage.model_fields.keys() - EXECUTION - GOALS
        canonical_json(settings)


@pytest.mark.parametrize(("stage", "name"), FIELDS, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_every_setting_is_described(stage: type[StageConfig], name: str) -> None:
    assert stage.model_fields[name].description


def test_configs_are_closed_and_frozen() -> None:
    for stage in (*STAGES, PipelineConfig):
        with pytest.raises(ValidationError, match="Extra inputs"):
            stage.model_validate({"unheard_of": 1})
        config = stage()
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, next(iter(stage.model_fields)), getattr(config, next(iter(stage.model_fields))))


@pytest.mark.parametrize(
    ("size", "channels", "most"), [(1024, 3, 341), (1024, 1, 1024), (256, 3, 5461), (32, 3, 65536), (8, 1, 65536)]
)
def test_a_file_holds_at_most_a_gibibyte(size: int, channels: int, most: int) -> None:
    config = PrepareConfig(image_size=size, channels=channels, unit_images=65536)
    assert config.images_a_file == most
    assert config.model_copy(update={"unit_images": 100}).images_a_file == 100


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    floats = [(stage, name) for stage, name in FIELDS if stage.model_fields[name].annotation is float]
    assert len(floats) >= 8
    for stage, name in floats:
        with pytest.raises(ValidationError):
            stage.model_validate({name: value})


@pytest.mark.parametrize(
    ("stage", "name", "good", "bad"),
    [
        (PrepareConfig, "image_size", (4, 1024, (4, 1024)), (3, 1025, 8.5, "8x8", [8], [8, 8, 8], [3, 8], [8, 1025])),
        (PrepareConfig, "channels", (1, 3, 4), (0, 2, 5)),
        (PrepareConfig, "holdout", (0, 0.01, 0.99, 1, 300), (-0.1, 1.1, -1)),
        (PrepareConfig, "unit_images", (1, 65536), (0, 65537)),
        (
            PrepareConfig,
            "kind",
            ("idx", "folder", "tar", "zip", "arrays", "cifar", "parquet", "digits"),
            ("rar", "", "Folder", None),
        ),
        (
            PrepareConfig,
            "source",
            ("", "/a", "s3://bucket/a", "x" * 4096, [], ["/a"], ["/b", "/a"]),
            (["/a", ""], ["", ""], "x" * 4097, ["/a", "x" * 4097], 5, None, [5], {"a": "b"}, [["/a"]]),
        ),
        (
            PrepareConfig,
            "resize_filter",
            ("lanczos", "bicubic", "bilinear", "box", "nearest", "none"),
            ("hamming", "", "LANCZOS"),
        ),
        (PrepareConfig, "max_pixels", (1, 64_000_000, 1 << 32), (0, (1 << 32) + 1, 0.5)),
        (PrepareConfig, "image_key", ("", "image", "*", "x" * 256), ("x" * 257, 5, None)),
        (PrepareConfig, "max_value", (0, 1, 4095, 0.5, 1 << 32), (-1, (1 << 32) + 1, "white")),
        (PrepareConfig, "fit", ("crop", "pad", "stretch"), ("cover", "", "PAD")),
        (PrepareConfig, "min_side", (0, 1, 1 << 16), (-1, (1 << 16) + 1, 0.5)),
        (PrepareConfig, "drop_duplicates", (True, False), ("maybe", 2)),
        (PrepareConfig, "on_bad_image", ("fail", "quarantine"), ("skip", "", None)),
        (PrepareConfig, "max_bad_fraction", (0, 0.5, 1), (-0.01, 1.01, "few")),
        (TrainConfig, "images", (1, 1 << 40), (0, -5, (1 << 40) + 1)),
        (TrainConfig, "learning_rate", (1e-9, 1), (0, -1e-3, 1.01)),
        (TrainConfig, "seed", (0, (1 << 63) - 1), (-1, 1 << 63)),
        (TrainConfig, "dropout", (0, 0.99), (1, -0.1)),
        (TrainConfig, "channel_mults", ([1], [1] * 8), ([], [0], [1] * 9, [1.5])),
        (TrainConfig, "num_timesteps", (2, 1000), (1, 0)),
        (TrainConfig, "dtype", ("auto", "float32", "tf32", "bfloat16", "float16"), ("float64", "int8", "")),
        (TrainConfig, "microbatch", (0, 1, 65536), (-1, 65537)),
        (SampleConfig, "count", (2, 50_000), (1, 0)),
        (SampleConfig, "batch_size", (0, 1, 4096), (-1, 4097)),
        (SampleConfig, "variance", ("fixed_small", "fixed_large", "learned"), ("learned_range",)),
        (SampleConfig, "guidance_scale", (0, 1, 7.5), (-0.1, 101)),
        (TrainConfig, "parameterisation", ("eps", "x_start", "v"), ("x_prev", "epsilon")),
        (TrainConfig, "label_dropout", (0, 0.9), (-0.1, 1)),
        (EvaluateConfig, "bpd_images", (2, 1 << 20), (1,)),
        (EvaluateConfig, "extractor", ("auto", "classifier", "pixels"), ("fid", "vgg")),
        (EvaluateConfig, "extractor_sha256", ("", "0" * 64), ("0" * 63, "A" * 64, "0" * 65, "x")),
        (StageConfig, "workers", (0, 4096), (-1, 4097)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_ranges(stage: type[StageConfig], name: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        assert getattr(stage.model_validate({name: value}), name) == value
    for value in bad:
        with pytest.raises(ValidationError):
            stage.model_validate({name: value})


def test_the_digits_take_no_source() -> None:
    for name in ("source", "test_source"):
        for source in ("/x", ["/x"], [""]):
            with pytest.raises(ValidationError, match=f"{name} must be empty for the digits"):
                PrepareConfig(kind="digits", **{name: source})


def test_a_held_out_source_is_a_split() -> None:
    with pytest.raises(ValidationError, match="leave one out"):
        PrepareConfig(source="/a", test_source="/b", use_splits=False)


@pytest.mark.parametrize(
    ("source", "sources"),
    [("", ()), ([], ()), ("/a", ("/a",)), (["/a"], ("/a",)), (["/b", "/a", "/b"], ("/b", "/a", "/b"))],
)
def test_a_source_is_one_place_or_several(source: str | list[str], sources: tuple[str, ...]) -> None:
    assert PrepareConfig(source=source).sources == sources


def test_an_images_share_of_the_bound_is_no_result() -> None:
    """A data set prepared below one bound is found again below another."""
    assert key(PrepareConfig(max_bad_fraction=0)) == key(PrepareConfig(max_bad_fraction=1, source=["/a", "/b"]))


@pytest.mark.parametrize(("images", "batch", "total"), [(1, 128, 128), (128, 128, 128), (129, 128, 256), (10, 1, 10)])
def test_the_goal_is_rounded_up_to_whole_steps(images: int, batch: int, total: int) -> None:
    assert TrainConfig(images=images, batch_size=batch).total_images == total


class TestPartsFit:
    def refused(self, match: str, **stages: dict[str, object]) -> None:
        with pytest.raises(ValidationError, match=match):
            PipelineConfig.model_validate(stages)

    def test_the_network_must_fit_the_images(self) -> None:
        self.refused("image_size must be divisible by 8", prepare={"image_size": 20})
        self.refused("attention_resolutions", train={"attention_resolutions": [5]})
        self.refused("norm_groups must divide", train={"norm_groups": 48})

    def test_the_chain_is_not_longer_than_trained(self) -> None:
        self.refused("at most train.num_timesteps", sample={"num_steps": 1001})
        self.refused("or at least 2", sample={"num_steps": 1})

    def test_no_more_workers_than_images_a_step(self) -> None:
        self.refused("at most train.batch_size", train={"workers": 5, "batch_size": 4})

    def test_the_network_is_made_of_the_settings(self) -> None:
        config = TrainConfig(base_channels=8, channel_mults=[1, 2], norm_groups=4, attention_resolutions=[4], dropout=0)
        network = config.unet(8, 1)
        assert (network.image_size, network.in_channels, network.base_channels) == (8, 1, 8)
        assert (network.channel_mults, network.attention_resolutions) == ((1, 2), (4,))
        assert (network.num_res_blocks, network.norm_groups, network.dropout) == (2, 4, 0)


def test_roles_do_not_overlap_by_name() -> None:
    """A name means the same in every stage, so that the lists above can be by name."""
    for name in set(itertools.chain.from_iterable(stage.model_fields for stage in STAGES)):
        roles = {stage.role(name) for stage in STAGES if name in stage.model_fields}
        assert len(roles) == 1, name
