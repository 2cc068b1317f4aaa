"""Our figures by the rules of other programs: their resize and their subsets, our network and our mathematics."""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.metrics.inception_score import ClassStats, score_over_splits, split_bounds
from ddpm_core.metrics.kernel import squared_mmd
from ddpm_core.metrics.manifold import Balls, balls_around, coverage, density, precision
from ddpm_core.metrics.neighbours import nearest_neighbours
from infra.features.extractor import FEATURES
from infra.features.inception.kind import INCEPTION
from infra.features.inception.network import BATCH, Inception
from infra.features.inception.weights import read_weights
from tests.infra.features.inception.files import state_dict_file
from tests.parity import images
from tests.parity.figures import Figure
from tests.parity.rules import TENSORFLOW, Rule
from tests.parity.weights import parity_weights, with_counters

Options = Mapping[str, Any]


class Ours:
    """Computes our counterpart of a figure; features are computed once per collection, side and rule.

    Attributes:
        file: The weights as the other programs had them.
    """

    def __init__(self) -> None:
        self.file = state_dict_file(with_counters(parity_weights()))
        self._weights = read_weights(self.file, "the file of the other programs")
        self._collections = images.collections()
        self.features = cache(self._features)

    def figure(self, figure: Figure) -> float:
        """Return our counterpart of a figure."""
        sides = (self.features(figure.collection, side, figure.rule) for side in ("samples", "reference"))
        samples, reference = sides
        if figure.metric.startswith("inception_score"):
            assert INCEPTION.scores is not None
            logits = samples @ self._weights[INCEPTION.scores.weight].T
            return inception_score(logits, figure.metric.endswith("std"), figure.options)
        return METRICS[figure.program, figure.metric](samples, reference, figure.options)

    def _features(self, collection: str, side: str, rule: Rule) -> Tensor:
        found = torch.from_numpy(self._collections[collection][side]).permute(0, 3, 1, 2).contiguous()
        if rule is TENSORFLOW:  # our own: the extractor as every run uses it
            return INCEPTION.open(self._weights, {})(found)[FEATURES]
        network = Inception(self._weights)
        with torch.no_grad():
            return torch.cat([network.layers(rule.prepare(part))[FEATURES] for part in found.split(BATCH)])


def fid(samples: Tensor, reference: Tensor, _options: Options) -> float:
    """The Fréchet distance; all programs divide the covariance by n - 1, as we do.

    The few vectors of both sides lie in a space of few dimensions, in which the distance is the same and quickly found.
    """
    basis = torch.linalg.qr(torch.cat((samples, reference)).double().T).Q
    return distance(samples.double() @ basis, reference.double() @ basis)


def distance(samples: Tensor, reference: Tensor) -> float:
    """The Fréchet distance in all dimensions of the features."""
    a, b = (FeatureStats.empty(side.shape[1]).update(side) for side in (samples, reference))
    return frechet_distance(a, b)


def kid_of_subsets(samples: Tensor, reference: Tensor, options: Options) -> list[float]:
    """torch-fidelity's subsets: drawn from samples and reference in turn, without replacement within a subset."""
    stream = np.random.RandomState(options["rng_seed"])
    found = []
    for _ in range(options["kid_subsets"]):
        rows = [stream.choice(len(side), options["kid_subset_size"], replace=False) for side in (samples, reference)]
        found.append(squared_mmd(samples[torch.from_numpy(rows[0])], reference[torch.from_numpy(rows[1])]))
    return found


def kid_of_clean_fid(samples: Tensor, reference: Tensor, _options: Options) -> float:
    """clean-fid's 100 subsets of at most 1,000 from NumPy's global stream, the second folder's first."""
    stream = np.random.RandomState(0)
    size = min(len(samples), len(reference), 1000)
    found = []
    for _ in range(100):
        rows = [stream.choice(len(side), size, replace=False) for side in (reference, samples)]
        found.append(squared_mmd(reference[torch.from_numpy(rows[0])], samples[torch.from_numpy(rows[1])]))
    return float(np.mean(found))


def inception_score(logits: Tensor, std: bool, options: Options) -> float:
    """torch-fidelity's ten splits, of the images as they come or shuffled by its seed."""
    if options["samples_shuffle"]:
        order = np.random.RandomState(options["rng_seed"]).permutation(len(logits))
        logits = logits[torch.from_numpy(order)]
    bounds = split_bounds(len(logits), options["isc_splits"])
    empty = ClassStats.empty(logits.shape[1])
    scores = score_over_splits([empty.update(logits[first:last]) for first, last in bounds])
    return scores.std if std else scores.mean


def within(queries: Tensor, centres: Tensor, k: int, *, closed: bool) -> Tensor:
    """The number of balls around the centres that contain each query."""
    balls = Balls(centres, radii(centres, k)[:, None])
    return balls_around(queries, [balls], closed=[closed], centre=centres.mean(0))[:, 0]


def radii(centres: Tensor, k: int) -> Tensor:
    """The squared distance of each to its k-th nearest neighbour of the same side."""
    own = torch.arange(len(centres))
    return nearest_neighbours(centres, [centres], k, centre=centres.mean(0), own_rows=own).squared_distances[:, -1]


def _coverage(samples: Tensor, reference: Tensor, options: Options) -> float:
    nearest = nearest_neighbours(reference, [samples], 1, centre=reference.mean(0)).squared_distances[:, 0]
    return coverage(nearest, radii(reference, options["nearest_k"])).value


def _precision(key: str, *, closed: bool, recall: bool) -> Callable[[Tensor, Tensor, Options], float]:
    def of(samples: Tensor, reference: Tensor, options: Options) -> float:
        queries, centres = (reference, samples) if recall else (samples, reference)
        return precision(within(queries, centres, options[key], closed=closed)).value

    return of


def _density(samples: Tensor, reference: Tensor, options: Options) -> float:
    k = options["nearest_k"]
    return density(within(samples, reference, k, closed=False), k).value


METRICS: Mapping[tuple[str, str], Callable[[Tensor, Tensor, Options], float]] = MappingProxyType(
    {
        ("torch-fidelity", "fid"): fid,
        ("pytorch-fid", "fid"): fid,
        ("clean-fid", "fid"): fid,
        ("pytorch-fid", "fid_with_our_statistics"): fid,
        ("pytorch-fid", "fid_with_their_statistics"): fid,
        ("torch-fidelity", "kid"): lambda *given: float(np.mean(kid_of_subsets(*given))),
        ("torch-fidelity", "kid_std"): lambda *given: float(np.std(kid_of_subsets(*given))),
        ("clean-fid", "kid"): kid_of_clean_fid,
        ("torch-fidelity", "precision"): _precision("prc_neighborhood", closed=True, recall=False),
        ("torch-fidelity", "recall"): _precision("prc_neighborhood", closed=True, recall=True),
        ("prdc", "precision"): _precision("nearest_k", closed=False, recall=False),
        ("prdc", "recall"): _precision("nearest_k", closed=False, recall=True),
        ("prdc", "density"): _density,
        ("prdc", "coverage"): _coverage,
    }
)
