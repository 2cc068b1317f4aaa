"""The small frozen records that stages exchange: where a sealed output is, its digest and its counts; never tensors."""

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
# Sealed among the metrics, although they are settings.
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
        reused: Whether it had been sealed before this run.
    """

    name: str
    key: str
    digest: str
    reused: bool = False

    @classmethod
    def of(cls, manifest: Manifest, *, reused: bool = False) -> Self:
        """Return the record of a sealed output."""
        about: Json = {"name": manifest.name, "key": manifest.key, "digest": manifest.digest, "reused": reused}
        return cls(**about, **cls._facts(manifest))

    @classmethod
    def _facts(cls, _manifest: Manifest) -> Json:
        """The fields of this kind, from the manifest's facts."""
        return {}

    def is_of(self, manifest: Manifest) -> bool:
        """Tell whether this record states what the manifest says."""
        try:
            return type(self).of(manifest, reused=self.reused) == self
        except KeyError:  # an output of another stage, or of a version that sealed other facts
            return False

    def manifest(self, store: Store) -> Manifest:
        """Read the manifest.

        Raises:
            IntegrityError: If it is not there, or seals something else.
        """
        try:
            manifest = parse_manifest(store.read(self.name), item=self.name)
        except FileNotFoundError as error:
            raise IntegrityError("is missing", item=self.name, remedy="run the stage before it again") from error
        if manifest.digest != self.digest:
            raise IntegrityError("seals something else than was handed over", item=self.name)
        return manifest


def artifact_from_json(kind: type[A], values: Json) -> A:
    """Read a record that was written as JSON.

    Raises:
        IntegrityError: If it is none of this kind, or a value has another type.
    """
    try:
        kind(**values)  # no field is missing or unknown
        made: A = TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except (TypeError, AttributeError, ValidationError) as error:
        raise IntegrityError(f"is no {kind.__name__} ({str(error).splitlines()[0]})") from error
    return made


@dataclass(frozen=True, kw_only=True)
class Dataset(Artifact):
    """Images in splits `train` and `test`.

    Attributes:
        train_images: Number to train on.
        test_images: Number held out.
        image_size: Height and width.
        channels: 1 or 3.
        class_names: What labels stand for; empty where there are none.
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
        images_seen: Images it was trained on.
        num_timesteps: T.
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
        name: Such as `fd_classifier` or `bits_per_dim_fixed_large`; in MLflow `eval/` stands before it.
        value: In bits/dim for every name with `bpd` or `bits_per_dim`.
        standard_error: Over the held-out images; None if it is not known.
        note: What was measured, and on what.
    """

    name: str
    value: float
    standard_error: float | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Figures(Artifact):
    """The evaluation's figures.

    Attributes:
        metrics: By name, such as `eval/fd_classifier` and `eval/bits_per_dim_fixed_large`.
        extractor: What made the features of the Fréchet distance.
    """

    metrics: dict[str, float]
    extractor: str

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        return {name: manifest.facts[name] for name in ("metrics", "extractor")}

    @property
    def measures(self) -> dict[str, float]:
        """The metrics proper: what was measured, without the counts of what it was measured on."""
        return {name: value for name, value in self.metrics.items() if name.removeprefix("eval/") not in _COUNTS}

    @property
    def counts(self) -> dict[str, int]:
        """On how many images and timesteps the figures rest."""
        return {name: int(self.metrics[f"eval/{name}"]) for name in _COUNTS if f"eval/{name}" in self.metrics}

    @property
    def bound_timesteps(self) -> int:
        """From how many of its timesteps the bound was estimated; 0 where all were summed."""
        return int(self.metrics["eval/bpd_timesteps"])

    @property
    def variances(self) -> list[str]:
        """The variances of the reverse step under which the bound was taken."""
        found = (name.removeprefix(_BOUND) for name in self.metrics if name.startswith(_BOUND))
        return sorted(name for name in found if not name.endswith(_STDERR))

    def rows(self, *, labelled: bool) -> list[Figure]:
        """Every measure with its standard error and a note: the distance, then the bounds, then their terms by name.

        Args:
            labelled: Whether the network was conditioned on the images' labels.
        """
        measures = {name.removeprefix("eval/"): value for name, value in self.measures.items()}
        kind = "estimated upper bound" if self.bound_timesteps else "upper bound"
        given = " given the labels" if labelled else ""
        distance = f"Fréchet distance of {self.counts['fd_samples']:,} samples to the training split"
        notes = {self.extractor: distance} | {
            f"bits_per_dim_{name}": f"{kind}{given}, {name}, 256 levels" for name in self.variances
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
    """The page of a finished run, with its pictures; written again whenever the run is repeated.

    Attributes:
        folder: In the store.
    """

    folder: str
