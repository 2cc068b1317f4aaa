"""One typed config a stage: flat, closed to unknown settings, each setting with its range.

A setting is one of three: a *result* setting (part of the stage key), a *goal* (extends work, sealed by a manifest of
its own) or an *execution* setting (how and where; results do not depend on it).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ddpm_core.network.unet_config import UNetConfig

_SEED_LIMIT = (1 << 63) - 1
_LARGEST_FILE = 1 << 30
_LONGEST_PATH = 4096


def _execution(default: object, description: str, **bounds: Any) -> Any:  # noqa: ANN401 - pydantic's own type
    return Field(default, description=description, json_schema_extra={"role": "execution"}, **bounds)


def _goal(default: int, description: str, **bounds: Any) -> Any:  # noqa: ANN401 - pydantic's own type
    return Field(default, description=description, json_schema_extra={"role": "goal"}, **bounds)


SourceKind = Literal["folder", "tar", "zip", "arrays", "cifar", "parquet", "idx", "digits"]
ResizeFilter = Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16"]
ScheduleKind = Literal[
    "linear", "scaled_linear", "quadratic", "cosine", "sigmoid", "constant", "jsd", "warmup10", "warmup50"
]


class StageConfig(BaseModel):
    """What every stage's config shares."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    workers: int = _execution(0, "Ray workers; 0 means one for each core, or one for each GPU", ge=0, le=4096)

    def result_settings(self) -> dict[str, Any]:
        """The settings that the result is a function of, goals left out."""
        return {name: value for name, value in self.model_dump(mode="json").items() if not self.role(name)}

    def goals(self) -> dict[str, int]:
        """The settings that only extend work."""
        return {name: getattr(self, name) for name in type(self).model_fields if self.role(name) == "goal"}

    @classmethod
    def role(cls, name: str) -> str:
        """`execution`, `goal`, or nothing for a result setting."""
        extra = cls.model_fields[name].json_schema_extra
        return str(extra["role"]) if isinstance(extra, dict) else ""


class PrepareConfig(StageConfig):
    """Images to a sealed data set."""

    kind: SourceKind = Field(
        "folder",
        description="folder: PNG, JPEG, WebP files; tar (also webdataset) and zip: archives of them; arrays: npy, npz; "
        "cifar: its archives; parquet: also Hugging Face's; idx: MNIST-like files; digits: scikit-learn's",
    )
    source: list[str] | str = _execution("", "Folder, file or glob, local or s3://, or a list of them; not for digits")
    image_size: int = Field(32, ge=4, le=1024, description="Height and width after centre crop and resize")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
    resize_filter: ResizeFilter = Field("lanczos", description="How to resize")
    min_side: int = Field(0, ge=0, le=1 << 16, description="Leave out images with a shorter side below so many pixels")
    drop_duplicates: bool = Field(False, description="Leave out images whose bytes occurred before in the source")
    on_bad_image: Literal["fail", "quarantine"] = Field("fail", description="Whether one bad image ends the run")
    max_bad_fraction: float = _execution(0.01, "Largest share of images in quarantine", ge=0, le=1)
    holdout_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share of images held out, by content hash, where the source gives no split"
    )
    unit_images: int = Field(1024, ge=1, le=65536, description="Images a Parquet file, of 1 GiB at most")

    @model_validator(mode="after")
    def _source_is_given(self) -> Self:
        if self.kind == "digits" and self.source:
            raise ValueError(f"prepare.source must be empty for the digits; got {self.source!r}")
        if any(not text or len(text) > _LONGEST_PATH for text in self.sources):
            raise ValueError(f"prepare.source must be paths of 1 to {_LONGEST_PATH} characters")
        return self

    @property
    def images_a_file(self) -> int:
        """`unit_images`, or fewer where they would exceed a gibibyte."""
        return min(self.unit_images, _LARGEST_FILE // (self.image_size**2 * self.channels))

    @property
    def sources(self) -> tuple[str, ...]:
        """The source as a list."""
        given = [self.source] if isinstance(self.source, str) else self.source
        return () if given == [""] else tuple(given)


class TrainConfig(StageConfig):
    """A data set to a trained network."""

    images: int = _goal(1_000_000, "Images to train on in all, rounded up to whole steps", ge=1, le=1 << 40)
    batch_size: int = Field(128, ge=1, le=65536, description="Images a step, over all workers")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Adam's step size at its peak")
    lr_warmup_images: int = Field(640_000, ge=0, description="Images over which the rate rises from 0")
    lr_decay_images: int = Field(0, ge=0, description="Images after which it falls as 1/sqrt; 0 for never")
    grad_clip: float = Field(1.0, gt=0, description="Bound on the gradient's global norm")
    ema_halflife_images: float = Field(887_000, gt=0, description="Longest half-life of the averaged weights")
    ema_rampup_ratio: float = Field(0.05, gt=0, le=1, description="Half-life as a share of the run so far")
    shuffle_images: int = Field(
        0, ge=0, le=1 << 40, description="Images to mix and have in memory at a time; 0 for the whole training split"
    )
    random_flip: bool = Field(True, description="Mirror half of the images")
    seed: int = Field(0, ge=0, le=_SEED_LIMIT, description="Of weights, order, timesteps, noise and flips")
    dtype: Dtype = Field("auto", description="Of the network's matrix products; auto takes bfloat16 where it is native")
    threads: int = Field(1, ge=1, le=256, description="Processor threads a worker")
    parameterisation: Literal["eps", "x_start", "v"] = Field("eps", description="What the network predicts")
    loss: Literal["simple", "min_snr", "bound", "hybrid"] = Field(
        "simple",
        description="L_simple; the same weighted by min-SNR; T L_t, of a fixed variance the large; L_hybrid",
    )
    min_snr_gamma: float = Field(5.0, gt=0, description="Of the min_snr loss")
    variance: Literal["fixed", "learned", "learned_range"] = Field(
        "fixed", description="Of the reverse steps; a learned one needs the hybrid loss or the bound"
    )
    class_conditional: bool = Field(False, description="Tell the network each image's label")
    label_dropout: float = Field(0.1, ge=0, lt=1, description="Share of labels left out in training, for guidance")
    schedule: ScheduleKind = Field("linear", description="Of the betas; scaled_linear is linear times 1000 / T")
    zero_terminal_snr: bool = Field(False, description="Rescale the schedule so that x_T holds nothing of the image")
    num_timesteps: int = Field(1000, ge=2, le=100_000, description="T")
    beta_start: float = Field(1e-4, gt=0, lt=1, description="First beta; cosine, sigmoid, constant and jsd have none")
    beta_end: float = Field(0.02, gt=0, lt=1, description="Last beta; cosine, sigmoid and jsd have none")
    base_channels: int = Field(128, ge=4, le=4096, description="Channels at full size")
    channel_mults: list[Annotated[int, Field(ge=1, le=64)]] = Field(
        [1, 2, 2, 2], min_length=1, max_length=8, description="Channels of each level, in base_channels"
    )
    num_res_blocks: int = Field(2, ge=1, le=16, description="Residual blocks a level")
    attention_resolutions: list[int] = Field([16], max_length=8, description="Sizes with self-attention")
    norm_groups: int = Field(32, ge=1, description="Groups of GroupNorm")
    dropout: float = Field(0.1, ge=0, lt=1, description="In the residual blocks")
    num_heads: int = Field(1, ge=1, le=64, description="Heads of each attention")
    scale_shift_norm: bool = Field(False, description="Let the timestep scale and shift the second normalisation")
    workers: int = _execution(1, "Ray Train workers; 0 means one for each GPU, else 1", ge=0, le=4096)
    device: Device = _execution("auto", "auto takes cuda where this machine has it")
    checkpoint_images: int = _execution(200_000, "Images between checkpoints", ge=1)
    checkpoint_minutes: float = _execution(5.0, "Minutes between checkpoints, beside those by images", gt=0)
    history_images: int = _execution(20_000, "Images between rows of the loss curve", ge=1)
    keep_checkpoints: int = _execution(2, "Latest checkpoints to keep, beside those at sealed goals", ge=1)

    @model_validator(mode="after")
    def _betas_are_variances(self) -> Self:
        largest = max(self.beta_start, self.beta_end) * 1000 / self.num_timesteps
        if self.schedule == "scaled_linear" and largest >= 1:
            raise ValueError(
                f"train.num_timesteps {self.num_timesteps} makes a scaled_linear beta of {largest:.3g}, not below 1; "
                "take more timesteps or smaller betas"
            )
        return self

    @model_validator(mode="after")
    def _network_can_learn_it(self) -> Self:
        if self.empty_at_the_end and self.parameterisation == "eps":
            raise ValueError(
                "train.parameterisation eps says nothing of the image where alpha-bar_T is 0 "
                f"({'train.zero_terminal_snr' if self.zero_terminal_snr else 'schedule jsd'}); set it to v"
            )
        if self.empty_at_the_end and self.loss == "min_snr":
            raise ValueError("train.loss min_snr has weight 0 where alpha-bar_T is 0; set it to simple")
        if self.variance == "fixed" and self.loss == "hybrid":
            raise ValueError("train.loss hybrid is for a learned train.variance; set it to learned_range")
        if self.variance != "fixed" and self.loss not in ("bound", "hybrid"):
            raise ValueError(f"train.variance {self.variance} is not learned by the {self.loss} loss; set hybrid")
        return self

    @property
    def empty_at_the_end(self) -> bool:
        """Whether alpha-bar_T is 0, so that x_T holds nothing of the image."""
        return self.zero_terminal_snr or self.schedule == "jsd"

    def unet(self, image_size: int, channels: int, classes: int = 0) -> UNetConfig:
        """The network for images of this shape; ValueError where they do not fit.

        A class-conditional one has one class more, the last, which stands for no label.
        """
        return UNetConfig(
            image_size=image_size,
            in_channels=channels,
            base_channels=self.base_channels,
            channel_mults=tuple(self.channel_mults),
            num_res_blocks=self.num_res_blocks,
            attention_resolutions=tuple(self.attention_resolutions),
            norm_groups=self.norm_groups,
            dropout=self.dropout,
            num_heads=self.num_heads,
            scale_shift_norm=self.scale_shift_norm,
            num_classes=classes + 1 if self.class_conditional else 0,
            learned_variance=self.variance != "fixed",
        )

    @property
    def total_images(self) -> int:
        """The goal, rounded up to whole steps."""
        return -(-self.images // self.batch_size) * self.batch_size


class SampleConfig(StageConfig):
    """A trained network to images."""

    count: int = _goal(50_000, "Images to draw", ge=2, le=1 << 40)
    num_steps: int = Field(0, ge=0, le=100_000, description="Steps of the respaced chain; 0 for all T")
    sampler: Literal["ddpm", "ddim", "ode"] = Field(
        "ddpm", description="Ancestral chain, DDIM, or Heun's method on the probability-flow ODE (two calls a step)"
    )
    eta: float = Field(0.0, ge=0, le=1, description="Of DDIM: 0 is deterministic, 1 the ancestral chain")
    variance: Literal["fixed_small", "fixed_large", "learned"] = Field(
        "fixed_large", description="Of the ancestral steps; learned is the network's, where it has one"
    )
    guidance_scale: float = Field(1.0, ge=0, le=100, description="Of classifier-free guidance; 1 is none")
    label: int = Field(-1, ge=-1, le=1 << 20, description="Class to draw; -1 for each in turn")
    clip_x_start: bool = Field(True, description="Clamp each predicted clean image to [-1, 1]; the ODE never does")
    batch_size: int = Field(64, ge=1, le=4096, description="Images a unit; all computed together")
    seed: int = Field(0, ge=0, le=_SEED_LIMIT, description="Of x_T and every z_t")
    dtype: Dtype = Field("auto", description="Of the network's matrix products")
    threads: int = Field(1, ge=1, le=256, description="Processor threads a worker")
    device: Device = _execution("auto", "auto takes cuda where this machine has it")

    @model_validator(mode="after")
    def _eta_has_a_use(self) -> Self:
        if self.eta > 0 and self.sampler != "ddim":
            raise ValueError(f"sample.eta is DDIM's: set sample.sampler=ddim or leave eta at 0; got {self.eta}")
        return self


class EvaluateConfig(StageConfig):
    """Samples and held-out images to a Fréchet distance and bits/dim."""

    extractor: Literal["auto", "fd_classifier", "fd_pixels"] = Field(
        "auto", description="Features of the distance; auto takes fd_classifier where there are labels"
    )
    bpd_images: int = Field(
        256, ge=2, le=1 << 20, description="Held-out images for the bound; fewer where there are fewer"
    )
    bpd_timesteps: int = Field(
        0, ge=0, le=100_000, description="Estimate the bound from so many timesteps an image; 0 sums all T"
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Images a unit of the bound")
    seed: int = Field(0, ge=0, le=_SEED_LIMIT, description="Of the draws of x_t")
    threads: int = Field(1, ge=1, le=256, description="Processor threads a worker")
    device: Device = _execution("auto", "auto takes cuda where this machine has it")


class PipelineConfig(BaseModel):
    """All four stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prepare: PrepareConfig = PrepareConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.train.unet(self.prepare.image_size, self.prepare.channels)
        if self.train.workers > self.train.batch_size:
            raise ValueError(
                f"train.workers must be at most train.batch_size ({self.train.batch_size}); got {self.train.workers}"
            )
        return self

    @model_validator(mode="after")
    def _timesteps_fit(self) -> Self:
        if self.sample.num_steps > self.train.num_timesteps:
            raise ValueError(
                f"sample.num_steps must be at most train.num_timesteps ({self.train.num_timesteps}); "
                f"got {self.sample.num_steps}"
            )
        if self.sample.num_steps == 1:
            raise ValueError("sample.num_steps must be 0 for the whole chain or at least 2; got 1")
        if self.evaluate.bpd_timesteps >= self.train.num_timesteps:
            raise ValueError(
                f"evaluate.bpd_timesteps must be below train.num_timesteps ({self.train.num_timesteps}), or 0 for all; "
                f"got {self.evaluate.bpd_timesteps}"
            )
        return self

    @model_validator(mode="after")
    def _network_has_what_is_sampled(self) -> Self:
        if self.sample.sampler == "ode" and self.train.empty_at_the_end:
            raise ValueError("sample.sampler ode starts at infinite noise where alpha-bar_T is 0; set it to ddim")
        if self.sample.variance == "learned" and self.sample.sampler != "ddpm":
            raise ValueError(f"sample.variance learned is the ancestral chain's; {self.sample.sampler} has none")
        if self.sample.variance == "learned" and self.train.variance == "fixed":
            raise ValueError("sample.variance learned needs a network with one; set train.variance=learned_range")
        if not self.train.class_conditional and (self.sample.guidance_scale != 1 or self.sample.label >= 0):
            raise ValueError(
                "sample.guidance_scale and sample.label are for a network with classes; set train.class_conditional"
            )
        if self.sample.guidance_scale != 1 and self.train.label_dropout == 0:
            raise ValueError("sample.guidance_scale needs a network that also saw no label; set train.label_dropout")
        return self
