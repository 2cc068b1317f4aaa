"""The settings of training."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ddpm_core.choices import Loss, NetworkVariance, Parameterisation, ScheduleKind
from ddpm_core.network.image_size import ImageSize
from ddpm_core.network.unet_config import UNetConfig
from flows.stage_config import SEED_LIMIT, Device, Dtype, StageConfig, choice, execution, goal, outside_input
from infra.storage.download import without_secrets


class TrainConfig(StageConfig):
    """Trains a network on a data set."""

    initial: str = outside_input(
        "",
        "Network to start from: a finished run's name, a snapshot file, a diffusers folder, or models:/NAME@ALIAS; "
        "empty for fresh weights",
        max_length=4096,
    )
    images: int = goal(1_000_000, "Images to train on, repeats counted; rounded up to whole steps", ge=1, le=1 << 40)
    batch_size: int = Field(128, ge=1, le=65536, description="Images per step, over all workers")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Peak learning rate of Adam")
    lr_warmup_images: int = Field(640_000, ge=0, description="Images over which the learning rate rises from 0")
    lr_decay_images: int = Field(
        0, ge=0, description="Images after which the learning rate falls as 1/sqrt(images); 0 for never"
    )
    grad_clip: float = Field(1.0, gt=0, description="Largest global norm of the gradient")
    ema_halflife_images: float = Field(
        887_000, gt=0, description="Longest half-life of the averaged weights, in images"
    )
    ema_rampup_ratio: float = Field(
        0.05,
        gt=0,
        le=1e6,
        description="Largest half-life of the averaged weights as a share of the images so far; 1e6 for no such bound",
    )
    shuffle_images: int = Field(
        0,
        ge=0,
        le=1 << 40,
        description="Images to shuffle and hold in memory at a time; 0 for the whole training split",
    )
    random_flip: bool = Field(True, description="Mirror half of the images left to right")
    seed: int = Field(0, ge=0, le=SEED_LIMIT, description="Seed of weights, order, timesteps, noise, flips and dropout")
    dtype: Dtype = Field(
        "auto",
        description="Number format of matrix products; auto takes bfloat16 if it is native, else float16 on a GPU and "
        "float32 on a CPU",
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per worker")
    compile: bool = Field(
        False, description="Compile the network by torch.compile: faster steps, after about a minute once per machine"
    )
    microbatch: int = Field(
        0,
        ge=0,
        le=65536,
        description="Images per forward and backward pass of a worker, to save memory; 0 for all of its share. It is "
        "part of the result only with dropout, whose masks are drawn per pass",
    )
    parameterisation: Parameterisation = choice(Parameterisation.EPS, "The quantity that the network predicts")
    loss: Loss = choice(Loss.SIMPLE, "The quantity that training minimises")
    min_snr_gamma: float = Field(5.0, gt=0, description="gamma of the min_snr loss")
    variance: NetworkVariance = choice(
        NetworkVariance.FIXED, "The variance of the reverse steps; a learned one needs the loss hybrid or bound"
    )
    class_conditional: bool = Field(False, description="Condition the network on class labels")
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of labels dropped in training, for classifier-free guidance"
    )
    schedule: ScheduleKind = choice(ScheduleKind.LINEAR, "The shape of the betas")
    zero_terminal_snr: bool = Field(False, description="Rescale the schedule so that x_T is pure noise")
    num_timesteps: int = Field(1000, ge=2, le=100_000, description="Length T of the chain")
    beta_start: float = Field(1e-4, gt=0, lt=1, description="First beta; unused by cosine, sigmoid, constant and jsd")
    beta_end: float = Field(0.02, gt=0, lt=1, description="Last beta; unused by cosine, sigmoid and jsd")
    base_channels: int = Field(128, ge=4, le=4096, description="Channels at full resolution")
    channel_mults: list[Annotated[int, Field(ge=1, le=64)]] = Field(
        [1, 2, 2, 2], min_length=1, max_length=8, description="Channels of each level, as multiples of base_channels"
    )
    num_res_blocks: int = Field(2, ge=1, le=16, description="Residual blocks per level")
    attention_resolutions: list[int] = Field(
        [16], max_length=8, description="Sizes of feature maps with self-attention, in pixels"
    )
    norm_groups: int = Field(32, ge=1, description="Groups of GroupNorm")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout rate in the residual blocks")
    num_heads: int = Field(1, ge=1, le=64, description="Heads per attention block")
    scale_shift_norm: bool = Field(
        False, description="Adaptive normalisation: the timestep scales and shifts (Dhariwal and Nichol 2021)"
    )
    workers: int = execution(1, "Ray Train workers; 0 means one per GPU of the cluster, on CPUs 1", ge=0, le=4096)
    device: Device = execution("auto", "auto takes cuda if a worker with a GPU fits the cluster, else cpu")
    activation_checkpointing: bool = execution(
        False, "Compute the residual blocks again in the backward pass: less memory, more time, the same bits"
    )
    deterministic: bool = execution(
        True, "On a GPU, take only kernels that give equal bits each time, also at a resume; a CPU has no others"
    )
    checkpoint_images: int = execution(200_000, "Images between checkpoints", ge=1)
    checkpoint_minutes: float = execution(5.0, "Minutes between checkpoints, in addition to those by images", gt=0)
    history_images: int = execution(20_000, "Images between rows of the loss curve", ge=1)
    history_seconds: float = execution(
        20.0, "Seconds between rows of the loss curve, in addition to those by images", gt=0
    )
    watch_images: int = execution(
        0, "Images between points with a snapshot of their own; 0 for an eighth of train.images", ge=0, le=1 << 40
    )
    watch_minutes: float = execution(30.0, "Minutes between points, in addition to those by images", gt=0)
    averages: bool = execution(
        True, "Keep and save two power-function averages of the weights, from which one of any length can be rebuilt"
    )
    watch_share: float = execution(
        0.05, "Largest share of the time to spend on figures of points along training; 0 for none", ge=0, le=0.5
    )
    watch_samples: int = execution(
        256, "Images to draw at every fourth point and at the goal for a distance of pixels; 0 for none", ge=0, le=4096
    )
    keep_checkpoints: int = execution(2, "Latest checkpoints to keep, in addition to those at sealed goals", ge=1)

    @model_validator(mode="after")
    def _betas_are_variances(self) -> Self:
        largest = max(self.beta_start, self.beta_end) * 1000 / self.num_timesteps
        if self.schedule == ScheduleKind.SCALED_LINEAR and largest >= 1:
            raise ValueError(
                f"train.num_timesteps {self.num_timesteps} makes a scaled_linear beta of {largest:.3g}, not below 1; "
                "take more timesteps or smaller betas"
            )
        return self

    @model_validator(mode="after")
    def _activations_are_recomputed_by_one(self) -> Self:
        if self.compile and self.activation_checkpointing:
            raise ValueError(
                "train.compile chooses by itself what the backward pass computes again; "
                "turn it or train.activation_checkpointing off"
            )
        return self

    @model_validator(mode="after")
    def _initial_holds_no_secret(self) -> Self:
        if without_secrets(self.initial) != self.initial:
            raise ValueError(
                "train.initial is shown in MLflow and in reports, so its address may hold neither a user nor a query; "
                "download the file and give its path"
            )
        return self

    @model_validator(mode="after")
    def _network_can_learn_it(self) -> Self:
        if self.parameterisation == Parameterisation.X_PREV:
            raise ValueError("train.parameterisation x_prev is for imported networks; set it to eps, x_start or v")
        if self.empty_at_the_end and self.parameterisation == Parameterisation.EPS:
            raise ValueError(
                "train.parameterisation eps does not determine the image if alpha-bar_T is 0 "
                f"({'train.zero_terminal_snr' if self.zero_terminal_snr else 'schedule jsd'}); set it to v"
            )
        if self.empty_at_the_end and self.loss == Loss.MIN_SNR:
            raise ValueError("train.loss min_snr has weight 0 if alpha-bar_T is 0; set it to simple")
        if self.variance == NetworkVariance.FIXED and self.loss == Loss.HYBRID:
            raise ValueError("train.loss hybrid needs a learned train.variance; set it to learned_range")
        if self.variance != NetworkVariance.FIXED and self.loss not in (Loss.BOUND, Loss.HYBRID):
            raise ValueError(
                f"train.variance {self.variance} is not learned by the {self.loss} loss; set train.loss=hybrid"
            )
        return self

    def unused(self) -> set[str]:
        """The settings without effect."""
        return super().unused() | (set() if self.class_conditional else {"label_dropout"})

    def result_settings(self) -> dict[str, Any]:
        """The settings that determine the result; micro-batches that change no mask of dropout count as none."""
        has_masks = self.dropout > 0 and self.microbatch < self.batch_size
        return super().result_settings() | ({} if has_masks else {"microbatch": 0})

    @property
    def empty_at_the_end(self) -> bool:
        """True if alpha-bar_T is 0, so that x_T is independent of the image."""
        return self.zero_terminal_snr or self.schedule == ScheduleKind.JSD

    def unet(self, image_size: ImageSize, channels: int, classes: int = 0) -> UNetConfig:
        """Return the network for images of this shape; a class-conditional one has a last, extra class for no label.

        Raises:
            ValueError: If the network does not suit the images.
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
            learned_variance=self.variance != NetworkVariance.FIXED,
        )

    @property
    def total_images(self) -> int:
        """The goal, rounded up to whole steps."""
        return -(-self.images // self.batch_size) * self.batch_size
