"""The U-Net eps_theta of Ho et al. 2020, appendix B; it matches the authors' network in every detail.

Residual blocks with GroupNorm (eps 1e-6) and SiLU, conditioned on the timestep by a sinusoid and two dense layers;
one-head attention over all channels at the named resolutions and in the middle; convolutions to halve and double the
size.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ddpm_core.network.convolution import Conv3x3
from ddpm_core.network.unet_config import UNetConfig
from ddpm_core.rng import Stream, normal, uniform

__all__ = ["AttentionBlock", "Downsample", "ResBlock", "UNet", "UNetConfig", "Upsample", "timestep_embedding"]

# The last layer of each residual branch starts almost at zero: variance scaling by 1e-10, standard deviation by 1e-5.
_NEARLY_ZERO = ("conv_2", "project_out", "conv_out")
_NORM_EPS = 1e-6
_LONGEST_PERIOD = 10_000


def timestep_embedding(t: Int64[Tensor, " b"], dim: int) -> Float[Tensor, "b dim"]:
    """The sinusoidal embedding of t: sines, then cosines, of t * 10000^(-i / (dim/2 - 1)), i = 0..dim/2-1."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / (half - 1)
    angles = t.to(torch.float32)[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) * exponents)
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class ResBlock(nn.Module):
    """norm, SiLU, conv, + dense(SiLU(time)), norm, SiLU, dropout, conv; added to a shortcut.

    With `scale_shift_norm` the dense layer gives (s, b) and the second norm becomes norm(h) (1 + s) + b.

    Attributes:
        recomputes: Keep no activation inside the block for the backward pass, but compute them there once more, with
            the same masks of dropout, so that gradients are equal to the last bit.
    """

    recomputes: bool = False

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(config.norm_groups, in_channels, eps=_NORM_EPS)
        self.conv_1 = Conv3x3(in_channels, out_channels)
        self.scale_shift = config.scale_shift_norm
        self.time_projection = nn.Linear(4 * config.base_channels, out_channels * (2 if self.scale_shift else 1))
        self.norm_2 = nn.GroupNorm(config.norm_groups, out_channels, eps=_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.conv_2 = Conv3x3(out_channels, out_channels)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c_in h w"], time: Float[Tensor, "b d"]) -> Float[Tensor, "b c_out h w"]:
        """Apply the block to features and the time embedding."""
        if not (self.recomputes and torch.is_grad_enabled()):
            return self._apply_to(x, time)
        drops = self.dropout.p > 0
        result: Tensor = checkpoint(self._apply_to, x, time, use_reentrant=False, preserve_rng_state=drops)
        return result

    def _apply_to(self, x: Float[Tensor, "b c_in h w"], time: Float[Tensor, "b d"]) -> Float[Tensor, "b c_out h w"]:
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        projected = self.time_projection(F.silu(time))[:, :, None, None]
        if self.scale_shift:
            scale, shift = projected.chunk(2, dim=1)
            hidden = self.norm_2(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm_2(hidden + projected)
        hidden = self.conv_2(self.dropout(F.silu(hidden)))
        shortcut: Tensor = self.shortcut(x)
        return shortcut + hidden


class AttentionBlock(nn.Module):
    """Self-attention over positions, added to its input; each head has an equal share of the channels."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.norm = nn.GroupNorm(config.norm_groups, channels, eps=_NORM_EPS)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project_out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = (self._heads(layer(tokens)) for layer in (self.query, self.key, self.value))
        # With an axis of heads, even of length 1, torch takes the fused kernel: three times as fast at 4x4 pixels.
        together = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.project_out(together).transpose(1, 2).reshape(x.shape)

    def _heads(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n c/heads"]:
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class Downsample(nn.Module):
    """Halve the size by a 3x3 convolution of stride 2 with TensorFlow's SAME padding: 0 before, 1 after."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h/2 w/2"]:
        """Halve height and width."""
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


class Upsample(nn.Module):
    """Double the size by repeating pixels, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv3x3(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        """Double height and width."""
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return doubled


class Level(nn.Module):
    """The blocks of one size: residual blocks, each followed by attention if the size has any, and the resizing."""

    def __init__(
        self, channels: list[tuple[int, int]], attends: bool, resize: nn.Module | None, config: UNetConfig
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(c_in, c_out, config) for c_in, c_out in channels)
        self.attentions = nn.ModuleList(
            AttentionBlock(c_out, config) if attends else nn.Identity() for _, c_out in channels
        )
        self.resize = resize

    def stages(self) -> list[tuple[nn.Module, nn.Module]]:
        """The residual blocks with the attention that follows each."""
        return list(zip(self.blocks, self.attentions, strict=True))


class UNet(nn.Module):
    """eps_theta(x_t, t), or eps_theta(x_t, t, label) if the config has classes.

    Initial weights are Ho's: Glorot uniform (fan average) for every convolution and dense layer, biases 0, the last
    layer of each residual branch and of the network scaled down by 1e-5. They are a function of `seed` alone. None
    skips the initialisation, for a network whose weights are loaded next.
    """

    def __init__(self, config: UNetConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        base = config.base_channels
        widths = [base * mult for mult in config.channel_mults]
        attends = [size in config.attention_resolutions for size in config.resolutions]
        self.time_1 = nn.Linear(base, 4 * base)
        self.time_2 = nn.Linear(4 * base, 4 * base)
        self.class_embedding = nn.Embedding(config.num_classes, 4 * base) if config.num_classes else None
        self.conv_in = Conv3x3(config.in_channels, base)

        skips = [base]
        down: list[Level] = []
        for level, width in enumerate(widths):
            inputs = [skips[-1], *[width] * (config.num_res_blocks - 1)]
            last = level == len(widths) - 1
            resize = None if last else Downsample(width)
            down.append(Level([(c_in, width) for c_in in inputs], attends[level], resize, config))
            skips += [width] * (config.num_res_blocks + (not last))

        self.down = nn.ModuleList(down)
        self.middle_1 = ResBlock(widths[-1], widths[-1], config)
        self.middle_attention = AttentionBlock(widths[-1], config)
        self.middle_2 = ResBlock(widths[-1], widths[-1], config)

        up: list[Level] = []
        current = widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            channels = []
            for _ in range(config.num_res_blocks + 1):
                channels.append((current + skips.pop(), width))
                current = width
            up.append(Level(channels, attends[level], Upsample(width) if level else None, config))

        self.up = nn.ModuleList(up)
        self.norm_out = nn.GroupNorm(config.norm_groups, base, eps=_NORM_EPS)
        self.conv_out = Conv3x3(base, config.out_channels)
        if seed is not None:
            self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        layers = [(n, m) for n, m in self.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for number, (name, layer) in enumerate(layers):
            weight = layer.weight
            receptive = math.prod(weight.shape[2:])
            fan_average = receptive * (weight.shape[0] + weight.shape[1]) / 2
            scale = 1e-10 if name.rsplit(".", 1)[-1] in _NEARLY_ZERO else 1.0
            drawn = uniform(seed, Stream.INITIAL_WEIGHTS, torch.tensor([number]), tuple(weight.shape))[0]
            weight.copy_((2 * drawn - 1) * math.sqrt(3 * scale / fan_average))
            if layer.bias is not None:
                layer.bias.zero_()
        if self.class_embedding is not None:
            numbers, width = torch.arange(self.config.num_classes), self.class_embedding.embedding_dim
            self.class_embedding.weight.copy_(normal(seed, Stream.CLASS_EMBEDDING, numbers, (width,)))

    def recompute_blocks(self) -> None:
        """Have every residual block compute its activations again in the backward pass: less memory, more time."""
        for module in self.modules():
            if isinstance(module, ResBlock):
                module.recomputes = True

    def forward(
        self, x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c_out h w"]:
        """Predict eps, and the variance if it is learned, from noisy images and their timesteps.

        Args:
            x_t: Noisy images.
            t: Their timesteps.
            labels: Their classes, 0..num_classes-1, if the config has classes; else None.

        Raises:
            ValueError: If labels are missing, or passed to a network without classes.
        """
        time = self._embed(t, labels, x_t.dtype)
        hidden = self.conv_in(x_t)
        skips = [hidden]
        for level in _levels(self.down):
            for block, attention in level.stages():
                hidden = attention(block(hidden, time))
                skips.append(hidden)
            if level.resize is not None:
                hidden = level.resize(hidden)
                skips.append(hidden)
        hidden = self.middle_2(self.middle_attention(self.middle_1(hidden, time)), time)
        for level in _levels(self.up):
            for block, attention in level.stages():
                hidden = attention(block(torch.cat((hidden, skips.pop()), dim=1), time))
            if level.resize is not None:
                hidden = level.resize(hidden)
        output: Tensor = self.conv_out(F.silu(self.norm_out(hidden)))
        return output

    def _embed(self, t: Int64[Tensor, " b"], labels: Int64[Tensor, " b"] | None, dtype: torch.dtype) -> Tensor:
        embedding = timestep_embedding(t, self.config.base_channels).to(dtype)
        time: Tensor = self.time_2(F.silu(self.time_1(embedding)))
        if (labels is None) != (self.class_embedding is None):
            raise ValueError(f"a network with {self.config.num_classes} classes cannot take labels {labels}")
        return time if self.class_embedding is None else time + self.class_embedding(labels)


def _levels(modules: nn.ModuleList) -> list[Level]:
    return [module for module in modules if isinstance(module, Level)]
