"""KID and its like: the kernel distance between the features of the samples and of the training split."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ddpm_core.metrics.blocks import random_blocks
from ddpm_core.metrics.kernel import block_size, kernel_distance, squared_mmd
from flows.metrics.choices import MetricName
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import compared_features
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.sides import Side, named_figure, rows_of
from flows.metrics.tensor_units import read_columns, tensor_work
from infra.outputs.manifest import Manifest

STAGE = "kernel"
FORMAT_VERSION = 1
# Pairs of blocks per unit: 131 MB of Inception's features, read in one pass over both sides.
_PAIRS = 8


@dataclass(frozen=True, kw_only=True)
class BlockDistances:
    """The squared MMD of some pairs of random blocks."""

    reference: FeatureRows
    samples: FeatureRows
    seed: int

    @property
    def size(self) -> int:
        """Rows per block."""
        return block_size(min(self.reference.count, self.samples.count))

    @property
    def pairs(self) -> int:
        """Pairs of blocks in all."""
        return min(self.reference.count, self.samples.count) // self.size

    @property
    def units(self) -> list[int]:
        """Pairs of blocks per unit."""
        return [min(_PAIRS, self.pairs - first) for first in range(0, self.pairs, _PAIRS)]

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return `squared_mmd`, float64, of the pairs of a unit."""
        first, count = number * _PAIRS, self.units[number]
        sides = [
            rows.take(torch.cat(random_blocks(self.seed, rows.count, side, self.size)[first : first + count]))
            for rows, side in ((self.reference, Side.REFERENCE), (self.samples, Side.SAMPLES))
        ]
        blocks = zip(*(side.to(device).split(self.size) for side in sides), strict=True)
        return {"squared_mmd": torch.tensor([squared_mmd(x, y) for x, y in blocks], dtype=torch.float64)}


def _steps(subject: Subject) -> Steps:
    sealed = yield list(compared_features(subject))
    reference, samples = rows_of(subject, sealed)
    compute = BlockDistances(reference=reference, samples=samples, seed=subject.settings["seed"])
    work = tensor_work(
        subject,
        compute,
        stage=STAGE,
        format_version=FORMAT_VERSION,
        label="kernel_blocks",
        rows=compute.units,
        inputs={"reference": reference.manifest, "samples": samples.manifest},
        settings=subject.key_of(["seed"]),
    )
    (blocks,) = yield [work]
    return partial(_measure, subject, compute, blocks)


def _measure(subject: Subject, compute: BlockDistances, blocks: Manifest) -> Measured:
    found = kernel_distance(read_columns(blocks, subject.store)["squared_mmd"].tolist())
    note = (
        f"squared MMD, unbiased, of {subject.samples_count} to {subject.reference_count}: "
        f"the mean of {compute.pairs} pairs of random blocks of {compute.size:,}"
    )
    figure = named_figure(subject, MetricName.KID.value, found, note, published="kid")
    return Measured(figures=[figure], counts={"kernel_blocks": compute.pairs})


KID: Metric = _steps
