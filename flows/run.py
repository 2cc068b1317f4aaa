"""A finished run in Python: its figures as a table, its images as arrays, its network.

Everything is read through the manifests that the stages sealed, and every byte is compared with its digest. Ray,
Prefect and MLflow are not loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flows.artifacts import Artifact, Dataset, Figures, Samples, Snapshot
from flows.comparison.reading import read_measurements
from flows.comparison.table import Comparison, compare_trials
from flows.comparison.trial import Trial, mean_over_seeds, replicates
from flows.cost import StageCost
from flows.points import Point, find_point, read_points
from flows.provenance import Provenance, read_provenance
from flows.reconstruction import rebuilt_snapshot
from flows.root import resolve_root
from flows.run_record import read_record, run_names
from flows.snapshot import TrainedNetwork, decode_snapshot
from infra.errors import ConfigError, IntegrityError
from infra.outputs.environments import environment_in_words
from infra.outputs.images import DatasetReader, Images
from infra.outputs.manifest import Manifest, read_verified
from infra.storage.open import open_store
from infra.storage.store import Store

ImageSet = Literal["samples", "train", "test"]
Labels = NDArray[np.int32]
_FEWEST_COMPARED = 2


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run; `open_run` makes one.

    Attributes:
        name: Its name, which ends with its key.
        store: The store that holds its outputs.
        links: Its pages in other programs, by the program's name.
        dataset: The images that it was trained and evaluated on, as a record; `images` loads them.
        snapshot: The trained network, as a record; `network` loads it.
        samples: The drawn images, as a record; `images` loads them.
        figures: The evaluation's figures, as a record; `table` lists them.
        manifests: The manifests of the four outputs, by the stage that sealed them.
        costs: The cost of each stage, as far as it is recorded.
    """

    name: str
    store: Store
    links: Mapping[str, str] = field(repr=False)
    dataset: Dataset = field(repr=False)
    snapshot: Snapshot = field(repr=False)
    samples: Samples = field(repr=False)
    figures: Figures = field(repr=False)
    manifests: Mapping[str, Manifest] = field(repr=False)
    costs: Mapping[str, StageCost] = field(repr=False, default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that the results depend on, by its full name, such as `train.learning_rate`.

        The values are those that were used: `auto` is replaced by what it chose.
        """
        return {
            f"{stage}.{name}": value
            for stage, manifest in self.manifests.items()
            for name, value in (manifest.facts["settings"] | manifest.goal).items()
        }

    def table(self) -> list[dict[str, Any]]:
        """Return the figures as rows, ready for `pandas.DataFrame`.

        Returns:
            For each figure its `name`, `value`, `standard_error` over the held-out images (None if it is not known) and
            `note`, in the order of the metrics' table: the distance, the bounds in bits/dim, the bounds' terms.
        """
        columns = ("name", "value", "standard_error", "note")
        return [{column: getattr(figure, column) for column in columns} for figure in self.figures.figures]

    def provenance(self) -> dict[str, Provenance]:
        """Return the provenance of each figure, by its name; figures of one metric share theirs, but for EMA lengths.

        Returns:
            The data, split, snapshot, EMA length, sampler, seed, counts, extractor, rules, versions and hardware, as
            the evaluation sealed them; nothing if it was sealed before that was recorded.
        """
        sealed = read_provenance(self.manifests["evaluate"])
        return {figure: provenance for provenance in sealed for figure in provenance.figures}

    def images(self, which: ImageSet, limit: int | None = None) -> tuple[Images, Labels]:
        """Load images and their labels.

        Args:
            which: The drawn `samples`, or the `train` or `test` split of the data set.
            limit: Only the first so many, at least 1; None for all.

        Returns:
            Images uint8 [n, c, h, w] in 0..255 and labels int32 [n], which count the names in `dataset.class_names`; -1
            for images without a label.

        Raises:
            ValueError: If there are no such images, or the limit is below 1.
            IntegrityError: If a file is missing or differs from what was sealed.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1; got {limit}")
        return self.reader(which).load(which, limit)

    def batches(self, which: ImageSet, size: int = 1024) -> Iterator[tuple[Images, Labels]]:
        """Load images batch by batch, for sets larger than memory: two files and two batches are in memory at most.

        Args:
            which: As for `images`.
            size: Images per batch, at least 1; the last batch may be smaller.

        Yields:
            Images uint8 [n, c, h, w] and labels int32 [n], in the order of `images`.

        Raises:
            ValueError: If there are no such images, or the size is below 1.
            IntegrityError: If a file is missing or differs from what was sealed.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1; got {size}")
        return _cut(self.reader(which), which, size)

    def points(self) -> list[Point]:
        """Return the points along training, by images seen: each has a snapshot and, if it was measured, figures.

        Empty if the network was trained before there were points.
        """
        return read_points(self.manifests["train"].facts)

    def network(self, point: str = "", *, ema: float | None = None) -> TrainedNetwork:
        """Load a trained network with its schedule, parameterisation and learned variance, as `load_snapshot` does.

        The arguments and errors are those of `snapshot_file`.
        """
        return decode_snapshot(*self.snapshot_file(point, ema=ema))

    def snapshot_file(self, point: str = "", *, ema: float | None = None) -> tuple[bytes, str]:
        """Read a snapshot file: its bytes, and its name in the store.

        Args:
            point: A place along training: `best` for the point with the lowest estimate of the bound on held-out
                images, or a number of images seen; if it is empty, the end.
            ema: The EMA length to rebuild at the end, as a share of training; None for the run's own average. A rebuilt
                snapshot has the name of the training with its length.

        Raises:
            ConfigError: If no average can have this length, or a length is to be rebuilt at a point.
            InputError: If there is no such point, or a length is to be rebuilt and training stored no averages.
            IntegrityError: If a file is missing or differs from what was sealed.
        """
        manifest = self.manifests["train"]
        if ema is not None:
            if point:
                raise ConfigError(
                    "an EMA length is rebuilt at the end of training",
                    item=f"{self.name}@{point}",
                    remedy="give the name of the run alone",
                )
            return rebuilt_snapshot(self.store, manifest, ema).data, f"{manifest.folder}, EMA length {ema:g}"
        (unit,) = manifest.units
        record = find_point(self.points(), point, self.name).record if point else unit
        return read_verified(self.store, manifest.folder, record), f"{manifest.folder}/{record['file']}"

    def reader(self, which: str) -> DatasetReader:
        """Return a reader of the sealed files that hold some images.

        Args:
            which: As for `images`.

        Raises:
            ValueError: If there are no such images.
        """
        if which not in get_args(ImageSet):
            raise ValueError(f"images must be one of {', '.join(get_args(ImageSet))}; got {which!r}")
        stage = "sample" if which == "samples" else "prepare"
        return DatasetReader(store=self.store, manifest=self.manifests[stage])


def list_runs(root: str | Path = "") -> list[str]:
    """Return the names of the finished runs below a root, sorted.

    Args:
        root: A folder or s3://bucket/prefix; if it is empty, DDPM_ROOT, else ./ddpm-runs.
    """
    return run_names(open_store(resolve_root(str(root))))


def open_run(name: str, root: str | Path = "") -> Run:
    """Open a finished run.

    Args:
        name: The run's name as `ddpm run` printed it, the digits at its end, or the text before them, which `--name`
            gave.
        root: A folder or s3://bucket/prefix; if it is empty, DDPM_ROOT, else ./ddpm-runs.

    Raises:
        InputError: If there is no finished run of that name, or several; the line lists those that exist.
        IntegrityError: If its record or a manifest is missing or damaged.
    """
    store = open_store(resolve_root(str(root)))
    record = read_record(name, store)
    finished = record.finished
    parts: dict[str, Artifact] = vars(finished)
    sealed = [(part, part.manifest(store)) for part in parts.values()]
    manifests = {manifest.stage: manifest for _, manifest in sealed}
    if not all(part.is_of(manifest) for part, manifest in sealed):
        item = f"{record.folder}/run.json"
        raise IntegrityError("differs from what was sealed", item=item, remedy="run the pipeline again")
    links, costs = record.elsewhere, record.costs
    return Run(name=record.name, store=store, links=links, manifests=manifests, costs=costs, **vars(finished))


def compare(runs: Sequence[Run], *, seeds: bool = False) -> list[dict[str, Any]]:
    """Return what differs between finished runs as rows, ready for `pandas.DataFrame`.

    Args:
        runs: The runs, at least two; the first is the baseline.
        seeds: Take the mean over runs that differ in `sample.seed` and `evaluate.seed` alone, as one run.

    Returns:
        For each setting, input and part of the environment that differs, and for each figure, a row per run: `kind`,
        `name`, `run`, `value`; for figures also `standard_error`, `seeds` and the standard `deviation` over them, the
        `difference` to the `baseline`, its `difference_standard_error` and `interval`, the `verdict`, the number of
        `paired_images`, and the `reason` if the two values are unlike.

    Raises:
        ConfigError: If there are fewer than two runs, or one is given twice.
        IntegrityError: If an output is missing or differs from what was sealed.
    """
    return compare_runs(runs, seeds=seeds).rows()


def compare_runs(runs: Sequence[Run], *, seeds: bool = False) -> Comparison:
    """Compare finished runs; the arguments and errors are those of `compare`."""
    if len(runs) < _FEWEST_COMPARED:
        raise ConfigError(f"a comparison needs two runs; got {len(runs)}", remedy="name another run or a --baseline")
    places = [(run.store.uri, run.name) for run in runs]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise ConfigError("is given twice", item=twice[1], remedy="name each run once")
    # The name alone is enough if all runs are below one root.
    several = len({uri for uri, _ in places}) > 1
    trials = [trial_of(run, f"{run.store.uri}:{run.name}" if several else run.name) for run in runs]
    return compare_trials([mean_over_seeds(group) for group in replicates(trials)] if seeds else trials)


def trial_of(run: Run, name: str) -> Trial:
    """Return a run as a comparison sees it, under this name.

    Raises:
        IntegrityError: If an output is missing or differs from what was sealed.
    """
    measurements = read_measurements(run.dataset, run.snapshot, run.samples, run.figures, store=run.store)
    initial = run.manifests["train"].plan["inputs"].get("initial")
    return Trial(
        name=name,
        settings=run.settings,
        inputs={"data": run.dataset.digest, "snapshot": run.snapshot.digest, "samples": run.samples.digest}
        | ({"initial": initial} if initial else {}),
        environment={
            f"{stage}.{part}": value
            for stage, manifest in run.manifests.items()
            for part, value in environment_in_words(manifest).items()
        },
        measurements=measurements,
        rules={f"rules of {stage}": manifest.plan["format_version"] for stage, manifest in run.manifests.items()},
    )


def _cut(reader: DatasetReader, split: str, size: int) -> Iterator[tuple[Images, Labels]]:
    """Cut the files of a split into batches; leftover images of a file go into a batch with those of the next file."""
    images, labels = np.empty((0,), np.uint8), np.empty((0,), np.int32)
    for unit in reader.units(split):
        of_unit, their_labels = reader.load_unit(unit)
        images = np.concatenate((images, of_unit)) if len(labels) else of_unit
        labels = np.concatenate((labels, their_labels))
        whole = len(labels) // size * size
        for start in range(0, whole, size):
            # A copy, so that a batch can be written to and keeps no file in memory.
            yield images[start : start + size].copy(), labels[start : start + size].copy()
        images, labels = images[whole:].copy(), labels[whole:]
    if len(labels):
        yield images, labels
