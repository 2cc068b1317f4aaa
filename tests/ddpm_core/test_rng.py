import math
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from ddpm_core.rng import Stream, integers, normal, permutation, philox4x32, signs, uniform, words

INDEXES = [0, 1, 5, 2**32 - 1, 2**32, 2**32 + 7, 2**48 - 1]
STEPS = [0, 999, 2**32 - 1]
# Draws are fixed, so a test passes always or never. Over 300 seeds and streams the p-values below were uniform.
UNLIKELY = 1e-4


def reference_philox(counter: list[int], seed: int) -> list[int]:
    """Salmon et al. 2011, figure 2 and table 1, in Python's unbounded integers."""
    left, right, other_left, other_right = counter
    keys = [seed % 2**32, seed // 2**32]
    for number in range(10):
        round_keys = [(keys[0] + number * 0x9E3779B9) % 2**32, (keys[1] + number * 0xBB67AE85) % 2**32]
        high_0, low_0 = divmod(0xD2511F53 * left, 2**32)
        high_1, low_1 = divmod(0xCD9E8D57 * other_left, 2**32)
        left, right, other_left, other_right = (
            high_1 ^ right ^ round_keys[0],
            low_1,
            high_0 ^ other_right ^ round_keys[1],
            low_0,
        )
    return [left, right, other_left, other_right]


def reference_words(seed: int, stream: int, index: int, count: int, step: int) -> list[int]:
    drawn: list[int] = []
    for block in range(math.ceil(count / 4)):
        drawn += reference_philox([block, index % 2**32, index // 2**32 + stream * 2**16, step], seed)
    return drawn[:count]


@pytest.mark.parametrize(
    ("counter", "seed", "expected"),
    [  # the known answers of Random123 (kat_vectors, philox4x32 10)
        ([0] * 4, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ],
)
def test_philox_gives_the_published_answers(counter, seed, expected):
    (drawn,) = philox4x32(torch.tensor([counter]), seed).tolist()
    assert " ".join(f"{word:08x}" for word in drawn) == expected


def test_philox_equals_python_integers_on_random_counters():
    source = random.Random(0)
    for _ in range(20):
        seed = source.getrandbits(64)
        counters = [[source.getrandbits(32) for _ in range(4)] for _ in range(20)]
        expected = [reference_philox(counter, seed) for counter in counters]
        assert philox4x32(torch.tensor(counters), seed).tolist() == expected


@pytest.mark.parametrize("seed", [0, 1234567890123, 2**64 - 1])
@pytest.mark.parametrize("stream", Stream)
def test_words_place_block_index_stream_and_step_in_the_counter(seed, stream):
    for step in STEPS:
        drawn = words(seed, stream, torch.tensor(INDEXES), 9, step)
        assert drawn.tolist() == [reference_words(seed, stream, index, 9, step) for index in INDEXES]


def test_stream_numbers_never_change():
    """The first ten as written in reliability.md 3.2; renumbering would change every run."""
    assert [stream.name for stream in sorted(Stream)] == [
        "X_T",
        "Z_T",
        "TRAINING_EPS",
        "TRAINING_T",
        "DROPOUT",
        "FLIP",
        "PERMUTATION",
        "NLL",
        "BOOTSTRAP",
        "INITIAL_WEIGHTS",
        "CLASS_EMBEDDING",
        "LABEL_DROPOUT",
        "NLL_T",
        "NLL_PROPOSAL",
        "BLOCK_ORDER",
        "WINDOW_ORDER",
        "FEATURE_ORDER",
        "DEQUANTISATION",
        "FLOW_PROBE",
        "WATCH_LOSS",
        "WATCH_BOUND",
        "WATCH_T",
    ]
    assert sorted(Stream) == list(range(22))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 12])
def test_fewer_words_are_the_first_of_more(count):
    index = torch.tensor(INDEXES)
    assert torch.equal(words(3, Stream.NLL, index, count), words(3, Stream.NLL, index, 16)[:, :count])


def test_uniform_is_the_word_plus_a_half_over_2_to_the_32():
    drawn = np.array(words(8, Stream.BOOTSTRAP, torch.arange(500), 6, 2).tolist(), dtype=np.float64)
    expected = ((drawn + 0.5) / 2**32).astype(np.float32).reshape(500, 2, 3)
    assert np.array_equal(uniform(8, Stream.BOOTSTRAP, torch.arange(500), (2, 3), 2).numpy(), expected)


def test_uniform_is_uniform():
    drawn = uniform(1, Stream.X_T, torch.arange(500), (40,)).flatten().numpy()
    assert drawn.min() > 0
    assert drawn.max() <= 1
    assert stats.kstest(drawn.astype(float), "uniform").pvalue > UNLIKELY


def test_normal_is_box_muller_in_float64():
    got = normal(11, Stream.Z_T, torch.arange(2000), (1, 2, 3), 77)
    expected = []
    for index in range(2000):
        values = []
        drawn = [(word + 0.5) / 2**32 for word in reference_words(11, Stream.Z_T, index, 8, 77)]
        for u, v in zip(drawn[::2], drawn[1::2], strict=True):
            radius = math.sqrt(-2 * math.log(u))
            values += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
        expected.append(values[:6])
    # One rounding to float32, 2^-24 relative: had the words been rounded to float32 first, errors would reach 1e-3.
    np.testing.assert_allclose(got.flatten(1).numpy(), np.array(expected), rtol=2**-23, atol=1e-12)


@pytest.mark.parametrize(("stream", "step"), [(Stream.X_T, 0), (Stream.Z_T, 999), (Stream.TRAINING_EPS, 0)])
def test_normal_is_normal(stream, step):
    drawn = normal(5, stream, torch.arange(1000), (1, 5, 5), step).flatten().double().numpy()
    assert stats.kstest(drawn, "norm").pvalue > UNLIKELY


def test_normal_is_uncorrelated_between_indexes_streams_steps_and_seeds():
    index = torch.arange(100)
    tables = [
        normal(5, Stream.X_T, index, (300,)),
        normal(6, Stream.X_T, index, (300,)),
        normal(5, Stream.Z_T, index, (300,)),
        normal(5, Stream.X_T, index, (300,), 1),
        normal(5, Stream.X_T, index + 1, (300,)).roll(-1, 1),
    ]
    flat = np.stack([table.flatten().numpy() for table in tables])
    off_diagonal = np.corrcoef(flat)[~np.eye(len(flat), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(30_000)


@pytest.mark.parametrize(("shape", "step"), [((3, 5, 5), 0), ((1, 2, 2), 999), ((7,), 3)])
def test_an_image_gets_the_same_noise_alone_or_in_any_batch(shape, step):
    alone = normal(4, Stream.X_T, torch.tensor([5]), shape, step)[0]
    batch = normal(4, Stream.X_T, torch.tensor([9, 5, 2**40, 0]), shape, step)
    assert torch.equal(batch[1], alone)
    assert batch.shape == (4, *shape)
    assert len(batch.flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize("high", [1, 2, 1000, 2**31])
def test_integers_are_the_floor_of_word_times_high(high):
    drawn = integers(2, Stream.TRAINING_T, torch.tensor(INDEXES), high, 4)
    assert drawn.tolist() == [
        high * reference_words(2, Stream.TRAINING_T, index, 1, 4)[0] // 2**32 for index in INDEXES
    ]


def test_integers_are_uniform_on_their_range():
    counts = integers(2, Stream.TRAINING_T, torch.arange(50_000), 100).bincount().numpy()
    assert len(counts) == 100
    assert stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize("count", [1, 2, 7, 5000])
def test_permutation_visits_everything_once(count):
    assert permutation(3, count, 0).sort().values.tolist() == list(range(count))


def test_permutation_differs_by_step_and_by_seed():
    orders = [permutation(seed, 1000, step) for seed in (0, 1) for step in (0, 1)]
    for first, second in pairwise(orders):
        # Two unrelated orders agree in about one place, Poisson distributed.
        assert int((first == second).sum()) < 10
    assert torch.equal(orders[0], permutation(0, 1000, 0))


def test_every_order_of_three_is_equally_likely():
    seen = [tuple(permutation(0, 3, step).tolist()) for step in range(600)]
    counts = [seen.count(order) for order in sorted(set(seen))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed must lie in 0\.\.2\^64-1; got {seed}"):
        philox4x32(torch.zeros(1, 4, dtype=torch.int64), seed)


@pytest.mark.parametrize("index", [-1, 2**48])
def test_an_index_outside_48_bits_is_refused(index):
    with pytest.raises(ValueError, match=r"index must lie in 0\.\.2\^48-1; got"):
        words(0, Stream.X_T, torch.tensor([0, index]), 1)


@pytest.mark.parametrize("high", [0, 2**31 + 1])
def test_a_range_of_integers_that_cannot_be_drawn_is_refused(high):
    with pytest.raises(ValueError, match=rf"high must lie in 1\.\.2\^31; got {high}"):
        integers(0, Stream.X_T, torch.tensor([0]), high)


def test_signs_are_the_highest_bits_of_the_words():
    index = torch.tensor([0, 7, 2**47])
    drawn = signs(5, Stream.FLOW_PROBE, index, (3, 2), step=9)
    expected = [
        [1.0 if word >= 2**31 else -1.0 for word in reference_words(5, Stream.FLOW_PROBE, i, 6, 9)]
        for i in index.tolist()
    ]
    assert (drawn.dtype, drawn.shape) == (torch.float32, (3, 3, 2))
    assert drawn.flatten(1).tolist() == expected
