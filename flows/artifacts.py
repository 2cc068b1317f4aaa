"""The small frozen records that stages exchange: the place, digest and counts of a sealed output; never tensors."""

import json
import math
from dataclasses import dataclass, field
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from ddpm_core.network.image_size import ImageSize, image_sides, image_size_of
from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest, parse_manifest
from infra.storage.store import Store

# The name under which the evaluation seals the bound by timestep.
CURVES = "curves"
# That of the likelihoods by EMA length.
EMA_LENGTHS = "ema_lengths"
# That of the samples most like training images.
MEMORISED = "memorised"
# The fact of the evaluation that names what was asked for and is not computed.
LEFT_OUT = "left_out"
_MOST_DECIMALS = 9

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
        image_size: Height and width in pixels, or one number for both.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity.
        class_names: Names of the classes, indexed by label; empty if there are no labels.
        levels: Number of different pixel values that occur.
    """

    train_images: int
    test_images: int
    image_size: ImageSize
    channels: int
    class_names: tuple[str, ...]
    levels: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each image."""
        return self.channels, *image_sides(self.image_size)

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        facts = manifest.facts
        return {
            "train_images": facts["images"]["train"],
            "test_images": facts["images"]["test"],
            "image_size": image_size_of(*image_sides(facts["settings"]["image_size"])),
            "channels": facts["settings"]["channels"],
            "class_names": tuple(facts["class_names"]),
            "levels": facts["levels"],
        }

    def untrained_classes(self, store: Store) -> tuple[int, ...]:
        """Return the labels of classes without a training image; reads the manifest if there are classes."""
        return untrained_classes(self.manifest(store)) if self.class_names else ()


def untrained_classes(data: Manifest) -> tuple[int, ...]:
    """Return the labels of a data set's classes without a training image.

    Args:
        data: The manifest of the sealed data set.
    """
    trained = data.facts["classes"]["train"]
    return tuple(label for label in range(len(data.facts["class_names"])) if not trained.get(str(label)))


def held_out_without_label(data: Manifest) -> int:
    """Return the number of a labelled data set's held-out images that have no class of a training image.

    Args:
        data: The manifest of the sealed data set.
    """
    counts: dict[str, int] = data.facts["classes"]["test"]
    known = sum(counts.values()) - sum(counts.get(str(label), 0) for label in untrained_classes(data))
    return int(data.facts["images"]["test"]) - known


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


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: Its name, such as `fd_classifier` or `bits_per_dim_fixed_large`; MLflow's name has `eval/` in front.
        value: Its value, in bits/dim if the name contains `bpd` or `bits_per_dim`.
        standard_error: Its standard error over the images; None if it is not known.
        terms: The number of independent terms that the standard error rests on; None without one, and in figures that
            were sealed before that was recorded.
        error_needs: The requirement that a standard error has and this figure does not meet, such as "2,160 samples";
            empty if the figure has one, or if nothing gives it one.
        label: The name in words, for people.
        note: A description of the measure and its data.
        headline: Whether it belongs in the short table at the end of a run.
    """

    name: str
    value: float
    standard_error: float | None = None
    terms: int | None = None
    error_needs: str = ""
    label: str
    note: str
    headline: bool = False


def figure_text(figure: Figure) -> str:
    """The value and its standard error as a person reads them."""
    error = figure.standard_error
    text = number_text(figure.value, error)
    return text if error is None else f"{text} ± {number_text(error, error)}"


def number_text(value: float, error: float | None = None) -> str:
    """Return a value with as many decimals as two digits of its error need, or five digits if it has no error.

    Args:
        value: A figure or a difference of figures.
        error: Its standard error, if it is known.
    """
    if error is None or not error > 0 or not math.isfinite(error) or not math.isfinite(value):
        return f"{value:.5g}"
    decimals = min(max(1 - math.floor(math.log10(error)), 0), _MOST_DECIMALS)
    # z: a value that rounds to 0 has no sign.
    return f"{value:z.{decimals}f}"


@dataclass(frozen=True, kw_only=True)
class Figures(Artifact):
    """The evaluation's figures.

    Attributes:
        figures: The figures, most important first.
        counts: The numbers of images or timesteps that they rest on, by name.
        extractor: The feature extractor; empty if no metric compares features.
        left_out: What was asked for and is not computed, such as `bits_per_dim`, each with the reason.
    """

    figures: tuple[Figure, ...]
    counts: dict[str, int]
    extractor: str
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def _facts(cls, manifest: Manifest) -> Json:
        facts = manifest.facts
        figures = tuple(Figure(**figure) for figure in facts["figures"])
        left_out = dict(sorted(facts.get(LEFT_OUT, {}).items()))
        return {
            "figures": figures,
            "counts": facts["counts"],
            "extractor": facts["extractor"],
            "left_out": left_out,
        }

    @property
    def metrics(self) -> dict[str, float]:
        """The values and standard errors by their names in MLflow."""
        metrics = {}
        for figure in self.figures:
            metrics[f"eval/{figure.name}"] = figure.value
            if figure.standard_error is not None:
                metrics[f"eval/{figure.name}_stderr"] = figure.standard_error
        return metrics

    @property
    def left_out_lines(self) -> list[str]:
        """A sentence about each part of `left_out`."""
        return [f"{name} is left out: {reason}" for name, reason in self.left_out.items()]

    def starting_with(self, prefix: str) -> dict[str, Figure]:
        """Return the figures whose names start with the prefix, by the rest of their names."""
        figures = (figure for figure in self.figures if figure.name.startswith(prefix))
        return {figure.name.removeprefix(prefix): figure for figure in figures}


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """The page of a finished run, with its pictures; it is rewritten whenever the run is repeated.

    Attributes:
        folder: Its folder in the store.
    """

    folder: str
