"""The origins of an exported network for its model card: the end of a run, a point along one, a registered model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.points import Point, PointFigures
from infra.digests import Json
from infra.tracking.gate import tagged_figures

# Name and value of a fact.
Row = tuple[str, str]

_HALF_LIFE = "half-life of the averaged weights (EMA)"
_OF_ANOTHER_AVERAGE = (
    "The figures of the run are those of its own average of the weights. This network has another EMA length, "
    "for which the run has no samples."
)
_OF_THE_END = "The run's samples and figures are of the network at the end of training."
_ERROR = "The number after ± is the standard error."
# What a run notes of a version that it registers.
_RUN, _DATA, _OUTPUT = "ddpm.run", "ddpm.data_digest", "ddpm.digest"


class Origin(Protocol):
    """An origin that is known."""

    @property
    def title(self) -> str:
        """The name of the network."""

    def about_figures(self, *, rebuilt: bool) -> str:
        """Return a remark on the figures, or on why there are none.

        Args:
            rebuilt: Whether the network has another EMA length than the run's own.
        """

    def figures_of_network(self, *, rebuilt: bool) -> Sequence[Figure]:
        """Return the figures that are of this network."""

    def rows(self, *, rebuilt: bool) -> list[Row]:
        """Return all else that is known."""


@dataclass(frozen=True, kw_only=True)
class RunOrigin:
    """A finished run; the network is that at the end of its training.

    Attributes:
        name: The run's name.
        settings: Every setting that the results depend on, by its full name.
        environments: The software and hardware of each stage, by its name.
        dataset: The images that it was trained on.
        snapshot: The network.
        samples: The images that were drawn from it.
        figures: Their figures.
    """

    name: str
    settings: Mapping[str, Any]
    environments: Mapping[str, Json]
    dataset: Dataset
    snapshot: Snapshot
    samples: Samples
    figures: Figures

    @property
    def title(self) -> str:
        """The run's name."""
        return self.name

    def about_figures(self, *, rebuilt: bool) -> str:
        """Return on which samples they were measured."""
        drawn = f"Measured by ddpm-flows on its own {self.samples.count:,} samples, not on images that diffusers drew."
        return _OF_ANOTHER_AVERAGE if rebuilt else f"{drawn} {_ERROR}"

    def figures_of_network(self, *, rebuilt: bool) -> Sequence[Figure]:
        """Return all figures of the run; none if the network is another average."""
        return () if rebuilt else self.figures.figures

    def rows(self, *, rebuilt: bool) -> list[Row]:
        """Return the data, the network, the samples, and the environment of each stage."""
        settings, end = self.settings, self.snapshot
        steps = settings["sample.num_steps"] or end.num_timesteps
        rows = [
            *self.training_rows(),
            ("snapshot, digest of the output", end.digest),
            *([] if rebuilt else [self.half_life]),
            ("sampler", f"{settings['sample.sampler']}, {steps} of {end.num_timesteps} timesteps"),
            ("samples", f"{self.samples.count:,}, seed {settings['sample.seed']}, digest {self.samples.digest}"),
            ("figures, digest of the output", self.figures.digest),
        ]
        if self.figures.extractor:
            rows.append(("feature extractor", self.figures.extractor))
        return rows + self.environment_rows(self.environments)

    def training_rows(self) -> list[Row]:
        """Return the run and its data."""
        dataset = self.dataset
        return [
            ("run", self.name),
            ("data set", f"kind {self.settings['prepare.kind']}, digest {dataset.digest}"),
            ("images of the data set", f"{dataset.train_images:,} to train on, {dataset.test_images:,} held out"),
        ]

    @property
    def half_life(self) -> Row:
        """The half-life of the run's own average."""
        longest, share = self.settings["train.ema_halflife_images"], self.settings["train.ema_rampup_ratio"]
        return _HALF_LIFE, f"{longest:,g} images, at most {share:g} of the images so far"

    def environment_rows(self, stages: Mapping[str, Json]) -> list[Row]:
        """Return the environment of each of these stages."""
        return [
            (f"environment of {stage}", ", ".join(f"{name} {environment[name]}" for name in sorted(environment)))
            for stage, environment in stages.items()
        ]


@dataclass(frozen=True, kw_only=True)
class PointOrigin:
    """A point along the training of a finished run.

    Attributes:
        run: The run.
        point: The point; no average of another length is rebuilt there.
    """

    run: RunOrigin
    point: Point

    @property
    def title(self) -> str:
        """The point's name."""
        return f"{self.run.name}@{self.point.images_seen}"

    def about_figures(self, *, rebuilt: bool) -> str:
        """Return on which images they were measured, or that they were not."""
        del rebuilt
        found = self.point.figures
        if found is None:
            return f"This point of the training was not measured. {_OF_THE_END}"
        split = "held-out" if found.held_out else "training"
        measured = (
            f"Measured by ddpm-flows along the training, on the same {found.images:,} {split} images at every point."
        )
        return f"{measured} {_OF_THE_END} {_ERROR}"

    def figures_of_network(self, *, rebuilt: bool) -> Sequence[Figure]:
        """Return the figures of the point."""
        del rebuilt
        return _watched(self.point.figures) if self.point.figures else ()

    def rows(self, *, rebuilt: bool) -> list[Row]:
        """Return the data, the place along training, and the environments of preparation and training."""
        del rebuilt
        run = self.run
        stages = {name: environment for name, environment in run.environments.items() if name in ("prepare", "train")}
        return [
            *run.training_rows(),
            ("point of training", f"{self.point.images_seen:,} of {run.snapshot.images_seen:,} images"),
            ("training, digest of the output", run.snapshot.digest),
            run.half_life,
            *run.environment_rows(stages),
        ]


@dataclass(frozen=True, kw_only=True)
class RegisteredOrigin:
    """A version of a registered model.

    Attributes:
        version: Its address, such as models:/digits/3.
        tags: What the run that registered it noted.
    """

    version: str
    tags: Mapping[str, str]

    @property
    def title(self) -> str:
        """The run's name, or the version's address if no run is noted."""
        return self.tags.get(_RUN, self.version)

    def about_figures(self, *, rebuilt: bool) -> str:
        """Return where they come from."""
        del rebuilt
        if not tagged_figures(self.tags):
            return "No figures were registered."
        return f"As ddpm-flows registered them, each with the conditions of its measurement. {_ERROR}"

    def figures_of_network(self, *, rebuilt: bool) -> Sequence[Figure]:
        """Return the figures that the gate of the alias `champion` compares."""
        del rebuilt
        return [
            Figure(
                name=figure.name,
                value=figure.value,
                standard_error=figure.standard_error,
                label=figure.name,
                note=", ".join(f"{name} {value}" for name, value in sorted(figure.conditions.items())),
            )
            for figure in tagged_figures(self.tags)
        ]

    def rows(self, *, rebuilt: bool) -> list[Row]:
        """Return the version, and the run, the data and the training behind it."""
        del rebuilt
        noted = [
            ("run", self.tags.get(_RUN, "")),
            ("data set", f"digest {self.tags[_DATA]}" if _DATA in self.tags else ""),
            ("snapshot, digest of the output", self.tags.get(_OUTPUT, "")),
        ]
        return [("registered model", self.version), *(row for row in noted if row[1])]


def _watched(found: PointFigures) -> list[Figure]:
    images = f"{found.images:,} {'held-out' if found.held_out else 'training'} images"
    loss = "held_out_loss" if found.held_out else "loss_of_fixed_images"
    named = (
        (loss, "loss", found.loss, found.loss_stderr, f"L_simple of {images}, {len(found.timesteps)} timesteps"),
        (
            "bits_per_dim_estimate",
            "bits/dim, estimate",
            found.bits_per_dim,
            found.bits_per_dim_stderr,
            f"estimated upper bound on -log p of {images}",
        ),
        (
            "fd_pixels",
            "fd_pixels",
            found.fd_pixels,
            found.fd_pixels_stderr,
            f"Fréchet distance of {found.samples:,} samples to training images (not an FID)",
        ),
    )
    return [
        Figure(name=name, value=value, standard_error=error, label=label, note=note)
        for name, label, value, error, note in named
        if value is not None
    ]
