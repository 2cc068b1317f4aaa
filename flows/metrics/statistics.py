"""Count, sums and products of features: an output of its own, on which Fréchet distances rest."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ddpm_core.metrics.frechet import FeatureStats
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.together import Work
from flows.nodes.environment import Environment
from infra.compute.device import prepare_process
from infra.features.extractor import FEATURES
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.store import Store

STAGE = "statistics"
FORMAT_VERSION = 1
_UNIT = "units/000000"


def statistics_work(features: FeatureRows, *, label: str, device: str) -> Work:
    """The sums over all rows, in float64.

    Args:
        features: The rows.
        label: The name of the output among those that figures rest on.
        device: To add up on, `cpu` or `cuda`.
    """
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings={} if features.layer == FEATURES else {"layer": features.layer},
        inputs={"features": features.manifest.digest},
    )
    return Work(
        label=label,
        plan=plan,
        environment=Environment(work="measuring", device=device),
        names=[_UNIT],
        task=lambda output, device: StatisticsTask(output=output, features=features, device=device),
        seal=lambda output: _seal(output, features.count),
    )


@dataclass(frozen=True, kw_only=True)
class StatisticsTask:
    """Adds up the rows one part after the other, with one thread."""

    output: Output
    features: FeatureRows
    device: str

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits the only unit."""
        prepare_process(1)

        def run(_: int) -> None:
            stats = summed(self.features, self.device)
            self.output.commit(_UNIT, "safetensors", encode_stats(stats), {})

        return run


def summed(features: FeatureRows, device: str = "cpu") -> FeatureStats:
    """Return the sums over all rows, computed on a device, in the order of the rows."""
    stats: FeatureStats | None = None
    for part in features.parts():
        rows = part.to(device)
        stats = (stats or FeatureStats.empty(rows.shape[1], rows.device)).update(rows)
    assert stats is not None, "an output of features has at least one unit"
    return stats


def encode_stats(stats: FeatureStats) -> bytes:
    """Return the bytes of sums as they are sealed."""
    return encode_tensors({"count": torch.tensor(stats.count), "total": stats.total, "outer": stats.outer}, {})


def read_stats(manifest: Manifest, store: Store) -> FeatureStats:
    """Read a sealed output.

    Raises:
        IntegrityError: If its file differs from what was sealed.
    """
    (unit,) = manifest.units
    tensors, _ = decode_tensors(read_verified(store, manifest.folder, unit), unit["file"])
    return FeatureStats(count=int(tensors["count"]), total=tensors["total"], outer=tensors["outer"])


def _seal(output: Output, count: int) -> Manifest:
    record = output.record(_UNIT)
    assert record is not None, "the unit was committed and has no record"
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], {"images": count})
