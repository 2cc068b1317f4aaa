"""A snapshot of any EMA length, rebuilt from the averages that training stored (Karras et al. 2024, section 3.2)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpm_core.power_ema import PowerProfile, gamma_of, reconstruction
from infra.compute.device import fixed_threads
from infra.digests import Json, canonical_json, sha256
from infra.errors import ConfigError, InputError, IntegrityError, Term
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.store import Store

# The fact of a sealed training that lists its stored averages.
AVERAGES = "averages"
# The length in the description of a rebuilt snapshot.
SIGMA_REL = "sigma_rel"
LEFT_OUT = "left_out"
_LOGGER = logging.getLogger(__name__)
# Beyond it the error falls no more that matters, while each point costs a file to read; see docs/ema.md.
_MOST_POINTS = 64


@dataclass(frozen=True, kw_only=True)
class StoredAverages:
    """The averages of one point along training.

    Attributes:
        images_seen: The point.
        steps: Steps averaged.
        sigma_rels: The lengths of the averages in the file, in their order.
        unit: File, size and digest.
    """

    images_seen: int
    steps: int
    sigma_rels: tuple[float, ...]
    unit: Json

    @property
    def profiles(self) -> list[PowerProfile]:
        """The profiles of the averages in the file, in their order."""
        return [PowerProfile(self.steps, gamma_of(sigma_rel)) for sigma_rel in self.sigma_rels]


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A rebuilt snapshot.

    Attributes:
        data: The snapshot file.
        sigma_rel: Its length.
        relative_error: The error of its profile that remains; see `ddpm_core.power_ema.Reconstruction`.
        amplification: The sum of the coefficients' absolute values.
        points: The number of points that it was rebuilt from.
        left_out: The places, in images seen, of points that it was rebuilt without, since their files are damaged.
    """

    data: bytes
    sigma_rel: float
    relative_error: float
    amplification: float
    points: int
    left_out: Sequence[int] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """Everything but the file; `left_out` only if there are such points."""
        of_all = {name: value for name, value in vars(self).items() if name not in ("data", LEFT_OUT)}
        return of_all | ({LEFT_OUT: list(self.left_out)} if self.left_out else {})


def stored_averages(trained: Manifest) -> list[StoredAverages]:
    """Return the points with stored averages that a length is rebuilt from: all, or 64 of them evenly spread.

    Args:
        trained: The sealed training.

    Raises:
        InputError: If it stored no averages.
    """
    points = [
        StoredAverages(
            images_seen=entry["images_seen"],
            steps=entry["steps"],
            sigma_rels=tuple(entry["sigma_rels"]),
            unit={name: entry[name] for name in ("file", "sha256", "bytes")},
        )
        for entry in trained.facts.get(AVERAGES, ())
    ]
    points = sorted((point for point in points if point.steps), key=lambda point: point.images_seen)
    if not points or points[-1].images_seen != trained.facts["images_seen"]:
        raise InputError(
            "stored no averages from which to rebuild an EMA length",
            item=trained.folder,
            remedy=f"they begin with the first step: take train.averages=true and a new train.seed, or {Term.RUN_ANEW}",
        )
    last = len(points) - 1
    kept = {round(number * last / (_MOST_POINTS - 1)) for number in range(_MOST_POINTS)}
    return points if last < _MOST_POINTS else [points[number] for number in sorted(kept)]


def whole_averages(store: Store, trained: Manifest) -> list[StoredAverages]:
    """Return those of `stored_averages` whose files are whole; a warning names the others.

    It reads every file.

    Args:
        store: The store that holds the training.
        trained: The sealed training.

    Raises:
        InputError: If it stored no averages.
        IntegrityError: If those at the end of training are damaged, since no others hold the last steps.
    """
    points = stored_averages(trained)
    try:
        read_verified(store, trained.folder, points[-1].unit)
    except IntegrityError as error:
        remedy = "restore it from a copy, or do without EMA lengths: nothing else reads it"
        raise IntegrityError(error.cause, item=error.item, remedy=remedy) from error
    whole = [point for point in points[:-1] if _is_whole(store, trained.folder, point)] + points[-1:]
    if missing := _places_without(points, whole):
        _LOGGER.warning("%s: EMA lengths are rebuilt %s", trained.folder, without_words(missing))
    return whole


def _is_whole(store: Store, folder: str, point: StoredAverages) -> bool:
    try:
        read_verified(store, folder, point.unit)
    except IntegrityError:
        return False
    return True


def _places_without(points: Sequence[StoredAverages], kept: Sequence[StoredAverages]) -> list[int]:
    return sorted({point.images_seen for point in points} - {point.images_seen for point in kept})


def without_words(left_out: Sequence[int]) -> str:
    """Return the words about points that a length was rebuilt without."""
    return f"without the averages at {', '.join(f'{place:,}' for place in left_out)} images, which are damaged"


def digest_of(points: Sequence[StoredAverages]) -> str:
    """Return the digest of the files that a length is rebuilt from."""
    return sha256(canonical_json([point.unit["sha256"] for point in points]))


def rebuilt_snapshot(
    store: Store, trained: Manifest, sigma_rel: float, points: Sequence[StoredAverages] | None = None
) -> Rebuilt:
    """Rebuild the snapshot at the end of a training with another EMA length.

    The bytes depend on the stored averages and the length alone. Files are read one by one, so memory holds one point's
    averages and the sum in float64, four times the network's weights.

    Args:
        store: The store that holds the training.
        trained: Its manifest.
        sigma_rel: The length, as a share of training; see `ddpm_core.power_ema.gamma_of`.
        points: The points to rebuild it from, the last one at the end of training; by default those of
            `whole_averages`.

    Raises:
        ConfigError: If no average can have this length.
        InputError: If the training stored no averages.
        IntegrityError: If a file is missing, differs from its digest or holds other weights than the snapshot.
    """
    known = stored_averages(trained)
    try:
        target = PowerProfile(known[-1].steps, gamma_of(sigma_rel))
    except ValueError as error:
        raise ConfigError(str(error), item="EMA length") from error
    points = whole_averages(store, trained) if points is None else points
    with fixed_threads(1):
        found = reconstruction([profile for point in points for profile in point.profiles], target)
    data = read_verified(store, trained.folder, trained.units[0])
    weights, about = decode_tensors(data, trained.units[0]["file"])
    coefficients = iter(found.coefficients.tolist())
    sums = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    for point in points:
        _add(sums, [next(coefficients) for _ in point.sigma_rels], store, trained.folder, point)
    rebuilt = {name: total.to(weights[name].dtype) for name, total in sums.items()}
    return Rebuilt(
        data=encode_tensors(rebuilt, about | {SIGMA_REL: sigma_rel}),
        sigma_rel=sigma_rel,
        relative_error=found.relative_error,
        amplification=found.amplification,
        points=len(points),
        left_out=_places_without(known, points),
    )


def _add(
    sums: dict[str, Tensor], coefficients: Sequence[float], store: Store, folder: str, point: StoredAverages
) -> None:
    """Add a point's averages, each times its coefficient, to the sums; the file is dropped on return."""
    if not any(coefficients):
        return
    stored, _ = decode_tensors(read_verified(store, folder, point.unit), point.unit["file"])
    if stored.keys() != {f"{number}/{name}" for number in range(len(coefficients)) for name in sums}:
        raise IntegrityError("holds other weights than the snapshot", item=f"{folder}/{point.unit['file']}")
    for number, coefficient in enumerate(coefficients):
        for name, total in sums.items():
            total.add_(stored.pop(f"{number}/{name}"), alpha=coefficient)
