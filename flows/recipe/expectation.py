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
        inputs: The digests of the inputs; None if they are not known yet.
    """

    settings: Mapping[str, Any]
    usual: Mapping[str, Any]
    done: int = 0
    total: int | None = None
    unit: str = "images"
    grows: bool = False
    inputs: tuple[str, ...] | None = None


def expect(left: Left, attempts: Sequence[Attempt]) -> Expectation | None:
    """Return the expected cost, from the same work or else the nearest settings; None if no such work was measured.

    Time is scaled by the amount of work if both amounts count the same unit. Otherwise the attempts that led to one
    sealed output are taken for all of the work that is left.

    Args:
        left: The work that is left.
        attempts: The attempts at the stage below the root, in order.
    """
    ways = _ways(attempts)
    if left.total is None or left.unit == "units":
        ways = [_to_the_seal(way) for way in ways]  # a part of an unknown whole says nothing
    ways = [way for way in ways if _amount(way) and _wall_s(way) > 0]
    if not ways:
        return None

    def distance(way: Sequence[Attempt]) -> tuple[float, ...]:
        # Of those that are equally near a sealed one, whose size is known, then the longest, whose rate is the surest.
        last = way[-1]
        return len(_unlike(last.settings, left)), last.inputs != left.inputs, _sealed(way) is None, -_wall_s(way)

    way = min(ways, key=distance)
    sealed, share = _sealed(way), 1.0
    if left.total is not None and left.total > 0 and way[-1].unit == left.unit == "units":
        share = (left.total - left.done) / left.total
    elif left.total is not None and way[-1].unit == left.unit:
        share = (left.total - left.done) / _amount(way)
    scale = left.total / sealed.done if sealed and left.grows and left.total and sealed.done else 1.0
    return Expectation(
        seconds=_wall_s(way) * share,
        bytes=round(sealed.output_bytes * scale) if sealed else 0,
        run=way[-1].run,
        unlike=_unlike(way[-1].settings, left),
    )


def _ways(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """Return the attempts that led to one output together, in the order of their first.

    An attempt that begins at nothing after a sealed one is at another output: that of `--force`, or one in the place of
    an output that was removed.
    """
    ways: dict[bytes, list[list[Attempt]]] = {}
    for one in attempts:
        # An output that was not known yet is the first one, unless the attempt was forced.
        place = one.output.partition(".")[2] if one.output else "?" * one.forced
        own = ways.setdefault(canonical_json([dict(one.settings), list(one.inputs), place]), [[]])
        if one.start == 0 and one.amount and _sealed(own[-1]) is not None:
            own.append([])
        own[-1].append(one)
    return [way for own in ways.values() for way in own]


def _to_the_seal(way: list[Attempt]) -> list[Attempt]:
    """Return the attempts up to the last one that sealed an output; none if none did."""
    sealed = [number for number, one in enumerate(way) if one.outcome == SEALED]
    return way[: sealed[-1] + 1] if sealed else []


def _amount(way: Sequence[Attempt]) -> int:
    return sum(one.amount for one in way)


def _wall_s(way: Sequence[Attempt]) -> float:
    return sum(one.wall_s for one in way)


def _sealed(way: Sequence[Attempt]) -> Attempt | None:
    """Return the last attempt that sealed an output."""
    return next((one for one in reversed(way) if one.outcome == SEALED), None)


def _unlike(there: Mapping[str, Any], left: Left) -> dict[str, tuple[Any, Any]]:
    there, here = {**left.usual, **there}, {**left.usual, **left.settings}
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return {name: (there.get(name), here.get(name)) for name in names}
