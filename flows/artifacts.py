"""The small frozen records that stages exchange: where a sealed output is, its digest and its counts; never tensors."""

import json
from dataclasses import dataclass
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest, parse_manifest
from infra.storage.store import Store

# The name under which the evaluation seals the bound by timestep.
CURVES = "curves"
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


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: Such as `fd_classifier` or `bits_per_dim_fixed_large`; in MLflow `eval/` stands before it.
        value: In bits/dim for every name with `bpd` or `bits_per_dim`.
        standard_error: Over the images; None if it is not known.
        label: The name as a person reads it.
        note: What was measured, and on what.
        headline: Whether it belongs in the short table at the end of a run.
    """

    name: str
    value: float
    standard_error: float | None = None
    label: str
    note: str
    headline: bool = False


def figure_text(figure: Figure) -> str:
    """The value and its standard error as a person reads them."""
    error = "" if figure.standard_error is None else f" ± {figure.standard_error:.3f}"
    return f"{figure.value:.3f}{error}"


@dataclass(frozen=True, kw_only=True)
class Figures(Artifact):
    """The evaluation's figures.

    Attributes:
        figures: The most important first.
        counts: How many images or timesteps they rest on, by name.
        extractor: The extractor of the features; empty if no metric compares features.
    """

    figures: tuple[Figure, ...]
    counts: dict[str, int]
    extractor: str

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        facts = manifest.facts
        figures = tuple(Figure(**figure) for figure in facts["figures"])
        return {"figures": figures, "counts": facts["counts"], "extractor": facts["extractor"]}

    @property
    def metrics(self) -> dict[str, float]:
        """The values and standard errors by their names in MLflow."""
        metrics = {}
        for figure in self.figures:
            metrics[f"eval/{figure.name}"] = figure.value
            if figure.standard_error is not None:
                metrics[f"eval/{figure.name}_stderr"] = figure.standard_error
        return metrics

    def starting_with(self, prefix: str) -> dict[str, Figure]:
        """Return the figures whose names begin so, by the rest of their names."""
        found = (figure for figure in self.figures if figure.name.startswith(prefix))
        return {figure.name.removeprefix(prefix): figure for figure in found}


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """The page of a finished run, with its pictures; written again whenever the run is repeated.

    Attributes:
        folder: In the store.
    """

    folder: str
