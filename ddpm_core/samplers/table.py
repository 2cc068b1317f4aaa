"""The samplers by name: each takes a `Chain` and x_T, and returns x_0."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor

from ddpm_core.choices import Sampler
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.chain import Chain
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.samplers.ode import ode_sample


def _ddpm(chain: Chain, x_T: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return ddpm_sample(
        chain.model,
        chain.schedule,
        x_T,
        noise=chain.noise,
        variance=chain.variance,
        parameterisation=chain.parameterisation,
        clip_x_start=chain.clip_x_start,
        on_step=chain.on_step,
    )


def _ddim(chain: Chain, x_T: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return ddim_sample(
        chain.model,
        chain.schedule,
        x_T,
        eta=chain.eta,
        noise=chain.noise,
        parameterisation=chain.parameterisation,
        clip_x_start=chain.clip_x_start,
        on_step=chain.on_step,
    )


def _ode(chain: Chain, x_T: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return ode_sample(chain.model, chain.schedule, x_T, parameterisation=chain.parameterisation, on_step=chain.on_step)


SAMPLERS: Mapping[Sampler, Callable[[Chain, Float[Tensor, "b c h w"]], Float[Tensor, "b c h w"]]] = MappingProxyType(
    {
        Sampler.DDPM: _ddpm,
        Sampler.DDIM: _ddim,
        Sampler.ODE: _ode,
    }
)
