"""Counter-based randomness: every number is a pure function of (seed, stream, index, step).

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a 128-bit counter and a
64-bit key into four 32-bit words. The key is the seed; the counter is

    (block, index low 32 bits, index high 16 bits | stream << 16, step)

so image `index` gets the same noise in every process, batch and order. This is Philox 4x32; numpy's generator of that
name is 4x64 and gives other numbers.
"""

import math
from enum import IntEnum

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MAX_INDEX = 1 << 48


class Stream(IntEnum):
    """The purpose of a random number. The values are part of the format: never renumber them."""

    X_T = 0
    Z_T = 1
    TRAINING_EPS = 2
    TRAINING_T = 3
    DROPOUT = 4
    FLIP = 5
    PERMUTATION = 6
    NLL = 7
    BOOTSTRAP = 8
    INITIAL_WEIGHTS = 9
    CLASS_EMBEDDING = 10
    LABEL_DROPOUT = 11
    NLL_T = 12
    NLL_PROPOSAL = 13
    BLOCK_ORDER = 14
    WINDOW_ORDER = 15
    FEATURE_ORDER = 16
    DEQUANTISATION = 17
    FLOW_PROBE = 18
    WATCH_LOSS = 19
    WATCH_BOUND = 20
    WATCH_T = 21


def philox4x32(counter: Int64[Tensor, "*n 4"], seed: int) -> Int64[Tensor, "*n 4"]:
    """Apply the ten rounds of Philox4x32 to each counter.

    Args:
        counter: Four words in 0..2^32-1 each.
        seed: The key, 0..2^64-1.

    Returns:
        Four words in 0..2^32-1 each.
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    return torch.stack(_rounds((c0, c1, c2, c3), seed), dim=-1)


# The four words of a block's counter, or of its output, in shapes that broadcast.
_Block = tuple[Tensor, Tensor, Tensor, Tensor]


def _rounds(counter: _Block, seed: int) -> _Block:
    """Apply the ten rounds; a word that many counters share takes its full shape only when the rounds mix it.

    int64 products wrap, but their low 64 bits are correct. Only factors need to be cut to 32 bits, because the high
    bits of the other words never reach a product.
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must lie in 0..2^64-1; got {seed}")
    c0, c1, c2, c3 = counter
    k0, k1 = seed & _MASK, seed >> 32
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = _mixed(product1, c1, k0), _mixed(product0, c3, k1)
        c1, c3 = product1, product0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1 & _MASK, c2, c3 & _MASK


def _mixed(product: Tensor, word: Tensor, key: int) -> Int64[Tensor, "*n"]:
    """(high word of the product) xor word xor key, cut to 32 bits; memory that was just allocated is used again."""
    return ((product >> 32) ^ word).bitwise_xor_(key).bitwise_and_(_MASK)


def words(seed: int, stream: Stream, index: Int64[Tensor, " b"], count: int, step: int = 0) -> Int64[Tensor, "b n"]:
    """Draw `count` uniform 32-bit words for each index.

    Args:
        seed: The run's seed, 0..2^64-1.
        stream: The purpose of the words.
        index: Numbers of images, slots or parameters, 0..2^48-1.
        count: Number of words per index.
        step: A further coordinate, such as the timestep, 0..2^32-1.
    """
    drawn = _blocks(seed, stream, index, -(-count // 4), step)
    return torch.stack(drawn, dim=-1).flatten(1)[:, :count]


def _blocks(seed: int, stream: Stream, index: Int64[Tensor, " b"], count: int, step: int) -> _Block:
    """The first `count` blocks of each index, as four words [b, count]."""
    # Only indices on the CPU are checked: on a GPU it would wait for the device, once per step of every chain.
    if index.is_cpu and index.numel() and not (int(index.min()) >= 0 and int(index.max()) < _MAX_INDEX):
        raise ValueError(f"index must lie in 0..2^48-1; got {int(index.min())}..{int(index.max())}")
    if not 0 <= step <= _MASK:
        raise ValueError(f"step must lie in 0..2^32-1; got {step}")
    counter = (
        torch.arange(count, device=index.device)[None, :],
        (index & _MASK)[:, None],
        ((index >> 32) | (int(stream) << 16))[:, None],
        torch.full((1, 1), step, device=index.device),  # torch.tensor would make a GPU wait for its copy
    )
    return _rounds(counter, seed)


def _to_unit_interval(drawn: Int64[Tensor, "*n"], scale: float = 1.0) -> Float64[Tensor, "*n"]:
    # double() first: an integer tensor plus 0.5 is float32, which would drop 8 of the 32 bits. Up to the scale all is
    # exact, so a scale costs the same rounding here as in a product of its own.
    return drawn.double().add_(0.5).mul_(scale * 2.0**-32)


def uniform(
    seed: int, stream: Stream, index: Int64[Tensor, " b"], shape: tuple[int, ...], step: int = 0
) -> Float32[Tensor, "b *shape"]:
    """Draw uniform numbers from (0, 1), (word + 1/2) / 2^32 rounded to float32 (which may give 1), for each index."""
    drawn = words(seed, stream, index, math.prod(shape), step)
    return _to_unit_interval(drawn).to(torch.float32).reshape(-1, *shape)


def normal(
    seed: int, stream: Stream, index: Int64[Tensor, " b"], shape: tuple[int, ...], step: int = 0
) -> Float32[Tensor, "b *shape"]:
    """Draw standard normal numbers for each index, by Box-Muller in float64 rounded to float32.

    The words of a block pair up as (0, 1) and (2, 3); a pair (u, v) gives sqrt(-2 ln u) cos(2 pi v) and the same
    with the sine.
    """
    count = math.prod(shape)
    blocks = -(-count // 4)
    drawn = _blocks(seed, stream, index, blocks, step)
    numbers = torch.empty((len(index), blocks, 4), device=index.device)
    for place in (0, 2):
        radius = _to_unit_interval(drawn[place]).log_().mul_(-2).sqrt_()
        angle = _to_unit_interval(drawn[place + 1], scale=2 * math.pi)
        torch.mul(radius, torch.cos(angle), out=numbers[..., place])
        torch.mul(radius, angle.sin_(), out=numbers[..., place + 1])
    return numbers.flatten(1)[:, :count].contiguous().reshape(-1, *shape)


def signs(
    seed: int, stream: Stream, index: Int64[Tensor, " b"], shape: tuple[int, ...], step: int = 0
) -> Float32[Tensor, "b *shape"]:
    """Draw -1 or 1, equally likely, for each index: the sign of each word's highest bit."""
    drawn = words(seed, stream, index, math.prod(shape), step)
    return ((drawn >> 31) * 2 - 1).to(torch.float32).reshape(-1, *shape)


def integers(seed: int, stream: Stream, index: Int64[Tensor, " b"], high: int, step: int = 0) -> Int64[Tensor, " b"]:
    """Draw one integer from 0..high-1 for each index, as floor(word * high / 2^32).

    Each value's probability differs from 1/high by at most 2^-32. `high` must lie in 1..2^31.
    """
    if not 1 <= high <= 1 << 31:
        raise ValueError(f"high must lie in 1..2^31; got {high}")
    return (words(seed, stream, index, 1, step)[:, 0] * high) >> 32


def permutation(
    seed: int, count: int, step: int, *, stream: Stream = Stream.PERMUTATION, start: int = 0
) -> Int64[Tensor, " n"]:
    """Return 0..count-1 in random order, sorted by 62 random bits each, ties by number.

    The bits belong to the indices start..start+count-1 of the stream. `step` is the epoch.
    """
    high, low = words(seed, stream, torch.arange(start, start + count), 2, step).unbind(-1)
    return torch.argsort(((high >> 1) << 31) | (low >> 1), stable=True)
