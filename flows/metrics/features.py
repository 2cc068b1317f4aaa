"""Sums of the features of images: an output of its own, so that all runs on a data set share its reference."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ddpm_core.metrics.frechet import FeatureStats
from flows.artifacts import Artifact
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import EXTRACTORS, extractor_device, open_extractor
from flows.metrics.metric import Subject
from flows.metrics.together import Work
from infra.compute.device import environment, fixed_threads, prepare_process
from infra.digests import Json
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.rows import RowReader
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.store import Store

STAGE = "features"
FORMAT_VERSION = 4
# Images at a time.
_CHUNK = 1024
_IMAGES_IN_MEMORY = 1 << 15


def features_work(subject: Subject, images: Artifact, split: str, count: int, *, label: str) -> Work:
    """The sums of the features of a split.

    Args:
        subject: Names the extractor, the threads of each worker and its device; sums depend on them.
        images: The sealed images.
        split: Of them.
        count: Images in the split.
        label: The name of the output among those that figures rest on.
    """
    extractor, threads = subject.extractor, int(subject.settings["threads"])
    assert extractor is not None, "a metric of features says that it uses the setting `extractor`"
    settings: Json = {"extractor": extractor.value, "split": split}
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=settings | ({"threads": threads} if threads != 1 else {}),
        inputs={"images": images.digest, "classifier": subject.weights.digest if subject.weights else ""},
    )
    size = _CHUNK * EXTRACTORS[extractor].unit_chunks
    chunks = [(start, min(start + size, count)) for start in range(0, count, size)]
    device = extractor_device(extractor, subject.device)
    names = [f"units/{number:06d}" for number in range(len(chunks))]

    def task(output: Output) -> FeaturesTask:
        return FeaturesTask(
            output=output,
            images=images.manifest(subject.store),
            split=split,
            chunks=chunks,
            extractor=extractor,
            weights=subject.weights,
            threads=threads,
            device=device,
        )

    return Work(
        label=label,
        plan=plan,
        environment=environment(device),
        device=device,
        names=names,
        task=task,
        seal=partial(_seal, chunks=chunks),
    )


@dataclass(frozen=True, kw_only=True)
class FeaturesTask:
    """Computes the sums of one unit at a time, on the device of the features."""

    output: Output
    images: Manifest
    split: str
    chunks: list[tuple[int, int]]
    extractor: ExtractorName
    weights: Manifest | None
    threads: int
    device: str = "cpu"

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits one unit."""
        prepare_process(self.threads)
        reader = DatasetReader(store=self.output.store, manifest=self.images)
        rows = RowReader(reader, self.split, _IMAGES_IN_MEMORY)
        extractor = open_extractor(self.extractor, self.weights, self.output.store, self.device)

        def run(number: int) -> None:
            start, stop = self.chunks[number]
            stats: FeatureStats | None = None
            for first in range(start, stop, _CHUNK):
                images, _ = rows(np.arange(first, min(first + _CHUNK, stop)))
                features = extractor(torch.from_numpy(images))
                stats = stats or FeatureStats.empty(features.shape[1], features.device)
                stats = stats.update(features)
            assert stats is not None, "a unit has at least one image"
            tensors = {"count": torch.tensor(stats.count), "total": stats.total, "outer": stats.outer}
            self.output.commit(f"units/{number:06d}", "safetensors", encode_tensors(tensors, {}), {})

        return run


def read_stats(manifest: Manifest, store: Store) -> FeatureStats:
    """Merge the sums of a sealed output, in the order of its units, in float64."""
    total: FeatureStats | None = None
    with fixed_threads(1):
        for unit in manifest.units:
            part = _stats(decode_tensors(read_verified(store, manifest.folder, unit), unit["file"])[0])
            total = part if total is None else total.merge(part)
    assert total is not None, "an output of features has at least one unit"
    return total


def _stats(tensors: dict[str, Tensor]) -> FeatureStats:
    return FeatureStats(count=int(tensors["count"]), total=tensors["total"], outer=tensors["outer"])


def _seal(output: Output, chunks: list[tuple[int, int]]) -> Manifest:
    units = []
    for number, (start, stop) in enumerate(chunks):
        record = output.record(f"units/{number:06d}")
        assert record is not None, f"unit {number} was committed and has no record"
        units.append({"unit": number, "rows": stop - start, **record.as_json()})
    return output.seal({}, units, {"images": chunks[-1][1]})
