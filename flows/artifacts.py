"""The small frozen records that stages exchange: the place, digest and counts of a sealed output; never tensors."""

import json
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest, parse_manifest
from infra.storage.store import Store

# The name under which the evaluation seals the bound by timestep.
CURVES = "curves"
_BOUND = "eval/bits_per_dim_"
_STDERR = "_stderr"
# These are sealed among the metrics, although they only count images and timesteps.
_COUNTS = ("bpd_images", "bpd_timesteps", "fd_samples")
_TERMS = {
    "prior_bpd": "the bound's term at the end of the chain",
    "step_bpd": "the bound's terms between its two ends, summed",
    "decoder_bpd": "the bound's term of the last step",
    "eps_mse": "mean squared error of the predicted noise, over all timesteps",
}


A = TypeVar("A", bound="Artifact")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A sealed output.

    Attributes:
        name: The manifest's name in the store.
        key: The stage key.
        digest: sha256 over the digests of its units.
        reused: Whether it was sealed before this run.
    """

    name: str
    key: str
    digest: str
    reused: bool = False

    @classmethod
    def of(cls, manifest: Manifest, *, reused: bool = False) -> Self:
        """Return the record of a sealed output."""
        common: Json = {"name": manifest.name, "key": manifest.key, "digest": manifest.digest, "reused": reused}
        return cls(**common, **cls._facts(manifest))

    @classmethod
    def _facts(cls, _manifest: Manifest) -> Json:
        """The further fields of this kind of record, from the manifest's facts."""
        return {}

    def is_of(self, manifest: Manifest) -> bool:
        """Tell whether this record agrees with the manifest."""
        try:
            return type(self).of(manifest, reused=self.reused) == self
        except KeyError:  # the output is of another stage, or of a version that sealed other facts
            return False

    def manifest(self, store: Store) -> Manifest:
        """Read the manifest.

        Raises:
            IntegrityError: If it is missing, damaged or has another digest.
        """
        try:
            manifest = parse_manifest(store.read(self.name), item=self.name)
        except FileNotFoundError as error:
            raise IntegrityError("is missing", item=self.name, remedy="run the stage that seals it again") from error
        if manifest.digest != self.digest:
            raise IntegrityError("has another digest than its record", item=self.name)
        return manifest


def artifact_from_json(kind: type[A], values: Json) -> A:
    """Read a record that was written as JSON.

    Raises:
        IntegrityError: If the record is of another kind, or a value has another type.
    """
    try:
        kind(**values)  # because it raises if a field is missing or unknown
        record: A = TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except (TypeError, AttributeError, ValidationError) as error:
        raise IntegrityError(f"is not a {kind.__name__} record ({str(error).splitlines()[0]})") from error
    return record


@dataclass(frozen=True, kw_only=True)
class Dataset(Artifact):
    """Images in splits `train` and `test`.

    Attributes:
        train_images: Number of images to train on.
        test_images: Number of held-out images.
        image_size: Height and width in pixels.
        channels: 1 or 3.
        class_names: Names of the classes, indexed by label; empty if there are no labels.
        levels: Number of different pixel values that occur.
    """

    train_images: int
    test_images: int
    image_size: int
    channels: int
    class_names: tuple[str, ...]
    levels: int

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        facts = manifest.facts
        return {
            "train_images": facts["images"]["train"],
            "test_images": facts["images"]["test"],
            "image_size": facts["settings"]["image_size"],
            "channels": facts["settings"]["channels"],
            "class_names": tuple(facts["class_names"]),
            "levels": facts["levels"],
        }


@dataclass(frozen=True, kw_only=True)
class Snapshot(Artifact):
    """A trained network: the snapshot of its averaged weights.

    Attributes:
        images_seen: Images that it was trained on, counting repeats.
        num_timesteps: T of its chain.
    """

    images_seen: int
    num_timesteps: int

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        return {name: manifest.facts[name] for name in ("images_seen", "num_timesteps")}


@dataclass(frozen=True, kw_only=True)
class Samples(Artifact):
    """Drawn images.

    Attributes:
        count: Their number.
    """

    count: int

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        return {"count": manifest.facts["images"]}


class Figure(NamedTuple):
    """One figure of a run.

    Attributes:
        name: Its name, such as `fd_classifier` or `bits_per_dim_fixed_large`; MLflow's name has `eval/` in front.
        value: Its value, in bits/dim if the name contains `bpd` or `bits_per_dim`.
        standard_error: Its standard error over the held-out images; None if it is not known.
        note: A description of the measure and its data.
    """

    name: str
    value: float
    standard_error: float | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Figures(Artifact):
    """The evaluation's figures.

    Attributes:
        metrics: Values by name, such as `eval/fd_classifier` and `eval/bits_per_dim_fixed_large`.
        extractor: The feature extractor of the Fréchet distance.
    """

    metrics: dict[str, float]
    extractor: str

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        return {name: manifest.facts[name] for name in ("metrics", "extractor")}

    @property
    def measures(self) -> dict[str, float]:
        """The metrics without the counts of images and timesteps that they rest on."""
        return {name: value for name, value in self.metrics.items() if name.removeprefix("eval/") not in _COUNTS}

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of images and timesteps that the figures rest on."""
        return {name: int(self.metrics[f"eval/{name}"]) for name in _COUNTS if f"eval/{name}" in self.metrics}

    @property
    def bound_timesteps(self) -> int:
        """The number of timesteps per image that the bound was estimated from; 0 if all were summed."""
        return int(self.metrics["eval/bpd_timesteps"])

    @property
    def variances(self) -> list[str]:
        """The variances of the reverse step under which the bound was computed."""
        names = (name.removeprefix(_BOUND) for name in self.metrics if name.startswith(_BOUND))
        return sorted(name for name in names if not name.endswith(_STDERR))

    def rows(self, *, labelled: bool) -> list[Figure]:
        """Return every measure with standard error and note: the distance, the bounds, then their terms by name.

        Args:
            labelled: Whether the network was conditioned on the images' labels.
        """
        measures = {name.removeprefix("eval/"): value for name, value in self.measures.items()}
        kind = "estimated upper bound" if self.bound_timesteps else "upper bound"
        condition = " given the labels" if labelled else ""
        distance = f"Fréchet distance of {self.counts['fd_samples']:,} samples to the training split"
        notes = {self.extractor: distance} | {
            f"bits_per_dim_{name}": f"{kind}{condition}, {name}, 256 levels" for name in self.variances
        }
        notes |= {name: _note(name) for name in sorted(measures.keys() - notes.keys()) if not name.endswith(_STDERR)}
        return [Figure(name, measures[name], measures.get(f"{name}{_STDERR}"), note) for name, note in notes.items()]


def _note(name: str) -> str:
    return next(
        (
            f"{note}, {name.removeprefix(f'{term}_')}" if name != term else note
            for term, note in _TERMS.items()
            if name.startswith(term)
        ),
        "",
    )


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """The page of a finished run, with its pictures; it is rewritten whenever the run is repeated.

    Attributes:
        folder: Its folder in the store.
    """

    folder: str
