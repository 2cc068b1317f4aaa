"""A recipe: the settings of every stage, and the rules between stages."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from ddpm_core.choices import NetworkVariance, Sampler, StepVariance
from flows.metrics.choices import Likelihood, MetricName
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare.config import PrepareConfig
from flows.stages.sample.config import SampleConfig
from flows.stages.train.config import TrainConfig


class PipelineConfig(BaseModel):
    """The settings of all four stages."""

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
        estimated = "bpd_timesteps" not in self.evaluate.unused()
        if estimated and self.evaluate.bpd_timesteps >= self.train.num_timesteps:
            raise ValueError(
                f"evaluate.bpd_timesteps must be below train.num_timesteps ({self.train.num_timesteps}); "
                f"got {self.evaluate.bpd_timesteps}; evaluate.likelihood bound takes all"
            )
        return self

    @model_validator(mode="after")
    def _averages_are_kept(self) -> Self:
        if MetricName.EMA_LENGTHS in self.evaluate.metrics and not self.train.averages:
            raise ValueError("evaluate.metrics ema_lengths needs the averages of training; set train.averages=true")
        return self

    @model_validator(mode="after")
    def _network_has_what_is_asked_of_it(self) -> Self:
        if self.sample.sampler == Sampler.ODE and self.train.empty_at_the_end:
            raise ValueError("sample.sampler ode starts at infinite noise if alpha-bar_T is 0; set it to ddim")
        if self.evaluate.measures(Likelihood.FLOW) and self.train.empty_at_the_end:
            raise ValueError(
                "evaluate.likelihood flow ends at infinite noise if alpha-bar_T is 0; leave it out, or choose a "
                "train.schedule that ends above 0"
            )
        if self.sample.variance == StepVariance.LEARNED and "variance" not in self.sample.sampler.uses:
            raise ValueError(f"sample.variance learned is for the ddpm sampler; {self.sample.sampler} does not use it")
        if self.sample.variance == StepVariance.LEARNED and self.train.variance == NetworkVariance.FIXED:
            raise ValueError(
                "sample.variance learned needs a network that learns one; set train.variance=learned_range"
            )
        if not self.train.class_conditional and (self.sample.guidance_scale != 1 or self.sample.label >= 0):
            raise ValueError(
                "sample.guidance_scale and sample.label need a network with classes; set train.class_conditional"
            )
        if self.sample.guidance_scale != 1 and self.train.label_dropout == 0:
            raise ValueError(
                "sample.guidance_scale needs a network also trained without labels; set train.label_dropout"
            )
        return self
