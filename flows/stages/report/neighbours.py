"""Other finished runs of the same data below the same root, and how they differ from a run.

A run differs from another in one respect if all else that determines its figures is equal: its figures then show the
effect of that respect alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from flows.artifacts import Figures
from flows.run_record import FinishedRun, read_record, run_names
from infra.digests import Json
from infra.errors import InputError, IntegrityError
from infra.outputs.manifest import Manifest
from infra.storage.store import Store

# Other runs to read at most. Those with the most similar names come first, since names state the settings.
LIMIT = 50
_EMA = ("ema_halflife_images", "ema_rampup_ratio")
_STEPS = "num_steps"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A finished run as a point of a plot.

    Attributes:
        name: Its name.
        images_seen: Images that the network was trained on.
        ema_images: Half-life of the averaged weights at the end of training, in images.
        num_steps: Steps of sampling.
        identity: All else that determines its figures; each respect that can be varied under a name of its own.
        figures: The figures.
    """

    name: str
    images_seen: int
    ema_images: float
    num_steps: int
    identity: Mapping[str, Any]
    figures: Figures

    def differs_only_in(self, respect: str, other: "Point") -> bool:
        """Tell whether the other run is equal to this one in all respects but this."""
        return all(value == other.identity[name] for name, value in self.identity.items() if name != respect)


@dataclass(frozen=True, kw_only=True)
class Respect:
    """A respect in which runs differ: an x axis.

    Attributes:
        name: Its name in `Point.identity`, and that of the plot.
        label: The axis, with its unit.
        of: Returns the place of a run on the axis.
        samples_only: Whether only figures that rest on samples depend on it.
    """

    name: str
    label: str
    of: Callable[[Point], float]
    samples_only: bool = False


RESPECTS = (
    Respect(name="images_seen", label="images seen in training", of=lambda run: run.images_seen),
    Respect(name="ema_length", label="half-life of the averaged weights (images)", of=lambda run: run.ema_images),
    Respect(name="sampler_steps", label="sampler steps", of=lambda run: run.num_steps, samples_only=True),
)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """A run and the others that share its data.

    Attributes:
        own: The run.
        others: The others that could be read.
        unread: Number of other runs that were not read, since there are too many.
        damaged: Names of the others whose record or manifests are damaged or missing.
    """

    own: Point
    others: Sequence[Point] = ()
    unread: int = 0
    damaged: Sequence[str] = field(default=())

    def along(self, respect: Respect) -> list[Point]:
        """Return this run and those that differ from it in this respect only, by their place, one for each place."""
        places = {respect.of(self.own): self.own}
        for run in self.others:
            if self.own.differs_only_in(respect.name, run):
                places.setdefault(respect.of(run), run)
        return [places[place] for place in sorted(places)]


def read_neighbours(name: str, store: Store, finished: FinishedRun) -> Neighbours:
    """Read the other finished runs of a store; a damaged one is left out and named.

    Args:
        name: The run's name.
        store: The store that holds the runs.
        finished: The run's artifacts.
    """
    names = [other for other in run_names(store) if other != name]
    names.sort(key=lambda other: (-_common_start(name, other), other))
    others, damaged = [], []
    for other in names[:LIMIT]:
        try:
            theirs = read_record(other, store).finished
            if theirs.dataset.digest == finished.dataset.digest:
                others.append(_point(other, store, theirs))
        except (IntegrityError, InputError, KeyError, TypeError, ValueError):
            damaged.append(other)
    return Neighbours(
        own=_point(name, store, finished),
        others=others,
        unread=max(len(names) - LIMIT, 0),
        damaged=damaged,
    )


def _common_start(name: str, other: str) -> int:
    """Return the number of characters that two names begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))


def _point(name: str, store: Store, finished: FinishedRun) -> Point:
    trained, drawn, evaluated = (
        part.manifest(store) for part in (finished.snapshot, finished.samples, finished.figures)
    )
    seen, settings = trained.facts["images_seen"], trained.facts["settings"]
    training, sampling, measuring = _plan(trained), _plan(drawn), _plan(evaluated)
    ema = {setting: training.pop(setting, None) for setting in _EMA}
    steps = sampling.pop(_STEPS, 0)
    measuring.pop("outputs", None)  # keys that follow from the rest
    return Point(
        name=name,
        images_seen=seen,
        ema_images=min(settings["ema_halflife_images"], settings["ema_rampup_ratio"] * seen),
        num_steps=steps or trained.facts["num_timesteps"],
        identity={
            "images_seen": seen,
            "ema_length": ema,
            "sampler_steps": steps,
            "count": drawn.facts["images"],
            "rest": [training, sampling, measuring],
        },
        figures=Figures.of(evaluated),
    )


def _plan(manifest: Manifest) -> Json:
    """Return the settings in an output's key, with the version of its format."""
    return {**manifest.plan["settings"], "format version": manifest.plan["format_version"]}
