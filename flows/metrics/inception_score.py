"""The Inception score of the samples, from class scores that the extractor's last layer gives of their features."""

from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from ddpm_core.metrics.estimate import Estimate
from ddpm_core.metrics.inception_score import (
    SPLITS,
    ClassStats,
    inception_score,
    score_over_splits,
    split_bounds,
)
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import open_class_scores
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import sample_features
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.sides import named_figure, rows_of
from flows.metrics.tensor_units import read_units, tensor_work
from infra.outputs.manifest import Manifest

STAGE = "class_scores"
FORMAT_VERSION = 1
# The score of one image is 1, whatever its classes are.
_FEWEST_PER_SPLIT = 2
# Rows at a time.
_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class SplitClasses:
    """The sums of class probabilities over each split of the samples, in their order."""

    samples: FeatureRows
    extractor: ExtractorName
    weights: Manifest

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """The first row and the row after the last of each split; one split if there are too few samples for ten."""
        enough = self.samples.count >= _FEWEST_PER_SPLIT * SPLITS
        return split_bounds(self.samples.count, SPLITS if enough else 1)

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return the parts of `ClassStats` of one split."""
        scores = open_class_scores(self.extractor, self.weights, self.samples.store, str(device))
        start, stop = self.bounds[number]
        stats: ClassStats | None = None
        for first in range(start, stop, _ROWS):
            logits = scores(self.samples.take(torch.arange(first, min(first + _ROWS, stop))).to(device))
            stats = (stats or ClassStats.empty(logits.shape[1], logits.device)).update(logits)
        assert stats is not None, "a split has at least one image"
        return {
            "count": torch.tensor(stats.count),
            "total": stats.total,
            "negative_entropy": stats.negative_entropy,
        }


def _steps(subject: Subject) -> Steps:
    sealed = yield [sample_features(subject)]
    (samples,) = rows_of(subject, sealed)
    assert subject.extractor is not None, "the metric says that it uses the setting `extractor`"
    assert subject.weights is not None, "an extractor with classes has weights"
    compute = SplitClasses(samples=samples, extractor=subject.extractor, weights=subject.weights)
    work = tensor_work(
        subject,
        compute,
        stage=STAGE,
        format_version=FORMAT_VERSION,
        label="sample_classes",
        rows=[stop - start for start, stop in compute.bounds],
        inputs={"samples": samples.manifest, "weights": subject.weights},
        settings={} if len(compute.bounds) == SPLITS else {"splits": len(compute.bounds)},
    )
    (classes,) = yield [work]
    return partial(_measure, subject, classes)


def _measure(subject: Subject, sealed: Manifest) -> Measured:
    parts = [
        ClassStats(count=int(unit["count"]), total=unit["total"], negative_entropy=unit["negative_entropy"])
        for unit in read_units(sealed, subject.store)
    ]
    whole = reduce(ClassStats.merge, parts)
    too_few = len(parts) == 1
    all_at_once = named_figure(
        subject,
        "is_one_split",
        Estimate(inception_score(whole), None),
        f"of all {whole.count:,} samples at once"
        + (f"; the mean of {SPLITS} splits needs {_FEWEST_PER_SPLIT * SPLITS} samples" if too_few else ""),
        published="inception_score_one_split",
        headline=too_few,
    )
    counts = {"scored_samples": whole.count}
    if too_few:
        return Measured(figures=[all_at_once], counts=counts)
    splits = score_over_splits(parts)
    classes, least = len(whole.total), len(parts) * len(whole.total)
    note = (
        f"of {whole.count:,} samples by {classes:,} classes: the mean of {len(parts)} splits in their order, "
        f"standard deviation {splits.std:.3f}"
    )
    if whole.count < least:
        note += f"; biased below {least:,}"
    found = Estimate(splits.mean, splits.standard_error, len(parts))
    mean = named_figure(subject, "is", found, note, published="inception_score")
    return Measured(figures=[mean, all_at_once], counts=counts)


INCEPTION_SCORE: Metric = _steps
