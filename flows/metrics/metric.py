"""A metric: the sealed outputs that its figures rest on, and the figures that follow from them."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flows.artifacts import Artifact, Dataset, Figure, Snapshot
from flows.metrics.choices import ExtractorName
from flows.metrics.together import Work
from infra.digests import Json
from infra.outputs.manifest import Manifest
from infra.storage.store import Store

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Sealed images that metrics compare.

    Attributes:
        images: The output that holds them.
        split: Of the output.
        count: Their number.
        name: In words, such as "training images".
    """

    images: Artifact
    split: str
    count: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The images and the network that are measured, and the settings to measure them with.

    Attributes:
        samples: The images to judge.
        reference: The images to compare them with; None if only their statistics are known.
        held_out: Images that no network was trained on; None if there are none.
        statistics: Sealed statistics of reference features that take the place of the reference's own, if any.
        trained: The network, and the data that it was trained on; None if images alone are measured.
        settings: Every result setting of the evaluation by name.
        key: Those of them that enter keys.
        extractor: Of the features, `auto` settled; None if no chosen metric uses one.
        weights: Sealed, of an extractor that has weights.
        device: `auto`, `cpu` or `cuda`.
        store: Where all of it is.
        about_features: A remark on the features for the reader of figures; may be empty.
    """

    samples: ImageSet
    reference: ImageSet | None = None
    held_out: ImageSet | None = None
    statistics: Manifest | None = None
    trained: tuple[Snapshot, Dataset] | None = None
    settings: Mapping[str, Any]
    key: Json
    extractor: ExtractorName | None
    weights: Manifest | None
    device: str
    store: Store
    about_features: str = ""

    @property
    def snapshot(self) -> Snapshot:
        """The network that is measured."""
        assert self.trained is not None, "no metric of a network is chosen without one"
        return self.trained[0]

    @property
    def dataset(self) -> Dataset:
        """The data that the network was trained on."""
        assert self.trained is not None, "no metric of a network is chosen without one"
        return self.trained[1]

    @property
    def samples_count(self) -> str:
        """The number and the name of the samples, in words."""
        return f"{self.samples.count:,} {self.samples.name}"

    @property
    def reference_count(self) -> str:
        """The number and the name of the reference, in words."""
        if self.statistics is not None:
            count = self.statistics.facts["images"]
            return f"the statistics of {count:,} images" if count else "statistics of an unknown number of images"
        return f"{self.reference.count:,} {self.reference.name}" if self.reference else "no images"

    def key_of(self, names: Sequence[str]) -> Json:
        """Return those settings of these names that enter keys."""
        return {name: value for name, value in self.key.items() if name in names}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The outcome of a metric.

    Attributes:
        figures: The most important first.
        counts: How many images or timesteps they rest on, by name.
        files: Further results, by the name that they are sealed under.
    """

    figures: Sequence[Figure]
    counts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


# A metric yields outputs that it rests on, each with a key of its own, and is sent their manifests in the same order.
# It may then yield outputs that rest on these. Metrics may share outputs. In the end it returns the function that gives
# the figures; this is called only if they are not sealed yet.
Steps = Generator[Sequence[Work], Sequence[Manifest], Callable[[], Measured]]
Metric = Callable[[Subject], Steps]


def run_metrics(
    metrics: Sequence[Steps], seal: Callable[[Sequence[Work]], Sequence[Manifest]]
) -> tuple[dict[str, Manifest], list[Callable[[], Measured]]]:
    """Take all metrics through their steps together, so that an output that several rest on is sealed once.

    Args:
        metrics: At their start.
        seal: Computes what is missing of some outputs and returns their manifests.

    Returns:
        The manifests by label, and for each metric the function that gives its figures.
    """
    outputs: list[dict[str, Manifest]] = []
    measures: dict[int, Callable[[], Measured]] = {}
    answers: dict[int, Sequence[Manifest] | None] = dict.fromkeys(range(len(metrics)))
    while answers:
        needed: dict[int, Sequence[Work]] = {}
        for number, answer in answers.items():
            try:
                needed[number] = next(metrics[number]) if answer is None else metrics[number].send(answer)
            except StopIteration as end:
                measures[number] = end.value
        works = {work.plan.key: work for some in needed.values() for work in some}
        sealed = dict(zip(works, seal(list(works.values())), strict=True))
        outputs += [{work.label: sealed[key]} for key, work in works.items()]
        answers = {number: [sealed[work.plan.key] for work in some] for number, some in needed.items()}
    return merged("outputs", outputs), [measures[number] for number in range(len(metrics))]


def noting(steps: Steps, sealed: list[Manifest]) -> Steps:
    """Take a metric through its steps, and note the manifests that it is sent.

    Args:
        steps: The metric at its start.
        sealed: Receives the manifests.
    """
    answer: Sequence[Manifest] | None = None
    while True:
        try:
            works = next(steps) if answer is None else steps.send(answer)
        except StopIteration as end:
            measure: Callable[[], Measured] = end.value
            return measure
        answer = yield works
        sealed += answer


def merged(what: str, parts: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """Put parts together whose names differ, or stand for the same."""
    merged: dict[str, T] = {}
    for part in parts:
        for name, value in part.items():
            assert merged.setdefault(name, value) == value, f"two {what} of metrics are called {name}"
    return merged
