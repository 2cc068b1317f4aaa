"""The time and space that a stage is expected to take, from what the same stage took below the same root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.digests import canonical_json
from infra.outputs.costs import SEALED, Attempt


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The expected cost of the work that is left.

    Attributes:
        seconds: Wall time, start-up included.
        bytes: The size of the sealed output; 0 if no such output is recorded as sealed.
        run: The run that was measured.
        unlike: The settings that differ, there and here, by name; empty if it had the same settings.
    """

    seconds: float
    bytes: int
    run: str
    unlike: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Left:
    """The work that is left of a stage.

    Attributes:
        settings: The result settings that enter the stage key.
        usual: The defaults of all result settings.
        done: The amount that is done.
        total: The amount in all; None if it is not known.
        unit: The unit of the amounts.
        grows: Whether the size of the output grows with the amount.
    """

    settings: Mapping[str, Any]
    usual: Mapping[str, Any]
    done: int = 0
    total: int | None = None
    unit: str = "images"
    grows: bool = False


def expect(left: Left, attempts: Sequence[Attempt]) -> Expectation | None:
    """Return the expected cost, from the same settings or else the nearest; None if no such work was measured.

    Time is scaled by the amount of work if both amounts count the same unit. Otherwise all of the work that was
    measured is taken for all of the work that is left.

    Args:
        left: The work that is left.
        attempts: The attempts at the stage below the root, in order.
    """
    works = [work for work in _by_work(attempts) if _amount(work) and _wall_s(work) > 0]
    if left.total is None or left.unit == "units":
        works = [work for work in works if _sealed(work) is not None]  # a part of an unknown whole says nothing
    if not works:
        return None
    # Of those that are equally near the longest one, because its rate is the most certain.
    work = min(works, key=lambda work: (len(_unlike(work[-1].settings, left)), -_wall_s(work)))
    sealed, share = _sealed(work), 1.0
    if left.total is not None and left.total > 0 and work[-1].unit == left.unit == "units":
        share = (left.total - left.done) / left.total
    elif left.total is not None and work[-1].unit == left.unit:
        share = (left.total - left.done) / _amount(work)
    scale = left.total / sealed.done if sealed and left.grows and left.total and sealed.done else 1.0
    return Expectation(
        seconds=_wall_s(work) * share,
        bytes=round(sealed.output_bytes * scale) if sealed else 0,
        run=work[-1].run,
        unlike=_unlike(work[-1].settings, left),
    )


def _by_work(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """Return the attempts on equal settings and inputs together, in the order of their first."""
    works: dict[bytes, list[Attempt]] = {}
    for one in attempts:
        works.setdefault(canonical_json([dict(one.settings), list(one.inputs)]), []).append(one)
    return list(works.values())


def _amount(work: Sequence[Attempt]) -> int:
    return sum(one.amount for one in work)


def _wall_s(work: Sequence[Attempt]) -> float:
    return sum(one.wall_s for one in work)


def _sealed(work: Sequence[Attempt]) -> Attempt | None:
    """Return the last attempt that sealed an output."""
    return next((one for one in reversed(work) if one.outcome == SEALED), None)


def _unlike(there: Mapping[str, Any], left: Left) -> dict[str, tuple[Any, Any]]:
    there, here = {**left.usual, **there}, {**left.usual, **left.settings}
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return {name: (there.get(name), here.get(name)) for name in names}
