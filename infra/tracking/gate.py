"""The gate before the alias `champion`: a model takes it only if a figure is better beyond the interval.

Only like is compared with like: figures of one name, measured under equal conditions. The difference must exceed its
95% interval, 2 √(se_new² + se_old²) or by Student's t more if the errors rest on few terms, for independent errors. If
they are not, as on the same held-out images with the same noise, the interval is wider than needed, and the gate
careful.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from infra.digests import canonical_json, sha256
from infra.interval import degrees_of_difference, interval_factor
from infra.record import ModelFigure

_TAG = "ddpm.figure."
_DIGITS = 8


class Verdict(NamedTuple):
    """A decision of the gate.

    Attributes:
        is_better: Whether the new model is better beyond the interval.
        reason: The comparison in words, or the reason why there is none.
    """

    is_better: bool
    reason: str


def judge(new: Sequence[ModelFigure], old: Sequence[ModelFigure], by: str) -> Verdict:
    """Compare a new model with the champion by one figure.

    Args:
        new: The figures of the new model, the most important first.
        old: The figures of the champion; a name may occur several times, under several conditions.
        by: The name of the figure; empty for the new model's first figure with a standard error and a direction.
    """
    figure = deciding_figure(new, by)
    if figure is None:
        known = ", ".join(figure.name for figure in new) or "none"
        return Verdict(False, f"no figure {by}; there are {known}" if by else _without_errors(new))
    if figure.higher_is_better is None:
        return Verdict(False, f"no larger or smaller {figure.name} is better")
    if not _is_judgeable(figure):
        return Verdict(False, _without_error(figure))
    same_name = [other for other in old if other.name == figure.name]
    if not same_name:
        return Verdict(False, f"the champion has no {figure.name} to compare with")
    alike = [other for other in same_name if dict(other.conditions) == dict(figure.conditions)]
    if not alike:
        return Verdict(False, f"the champion's {figure.name} is unlike: {_differences(figure, same_name[0])}")
    return _compared(figure, alike[0])


def deciding_figure(figures: Sequence[ModelFigure], by: str) -> ModelFigure | None:
    """Return the figure that decides for a model, as `judge` takes it; None if there is none."""
    return next((figure for figure in figures if (figure.name == by if by else _is_judgeable(figure))), None)


def leads(new: ModelFigure, old: Sequence[ModelFigure]) -> bool:
    """Tell whether a figure is better than its like among others, within the interval or beyond."""
    like = (other for other in old if other.name == new.name and dict(other.conditions) == dict(new.conditions))
    other = next(filter(_is_judgeable, like), None)
    return other is not None and _is_judgeable(new) and _gain(new, other) > 0


def shown_figure(figure: ModelFigure) -> str:
    """The value and its standard error as a person reads them."""
    error = "" if figure.standard_error is None else f" ± {figure.standard_error:.2g}"
    return f"{figure.value:.4g}{error}"


def figure_tags(figures: Sequence[ModelFigure]) -> dict[str, str]:
    """Return figures as tags of a registered version; `tagged_figures` reads them.

    The name of a tag holds a digest of the conditions, so a figure that was measured anew replaces only its like.
    """
    return {
        f"{_TAG}{figure.name}.{sha256(canonical_json(dict(figure.conditions)))[:_DIGITS]}": json.dumps(
            {
                "value": figure.value,
                "standard_error": figure.standard_error,
                "terms": figure.terms,
                "error_needs": figure.error_needs,
                "higher_is_better": figure.higher_is_better,
                "conditions": dict(figure.conditions),
            }
        )
        for figure in figures
    }


def tagged_figures(tags: Mapping[str, str]) -> list[ModelFigure]:
    """Return the figures among the tags of a registered version; tags that are damaged are no figures."""
    figures = []
    for key, text in tags.items():
        if key.startswith(_TAG):
            with suppress(TypeError, ValueError):
                figure = ModelFigure(name=key.removeprefix(_TAG).rpartition(".")[0], **json.loads(text))
                dict(figure.conditions), figure.value + (figure.standard_error or 0.0) + (figure.terms or 0)
                figures.append(figure)
    return figures


def _is_judgeable(figure: ModelFigure) -> bool:
    numbers = (figure.value, math.nan if figure.standard_error is None else figure.standard_error)
    return figure.higher_is_better is not None and all(map(math.isfinite, numbers))


def _without_error(figure: ModelFigure) -> str:
    needs = f": it needs {figure.error_needs}" if figure.error_needs else ""
    return f"{figure.name} {shown_figure(figure)} has no standard error to judge by{needs}"


def _without_errors(figures: Sequence[ModelFigure]) -> str:
    needs = "; ".join(f"{figure.name} needs {figure.error_needs}" for figure in figures if figure.error_needs)
    return f"no figure has a standard error{': ' if needs else ''}{needs}"


def _compared(new: ModelFigure, old: ModelFigure) -> Verdict:
    if not _is_judgeable(old):
        return Verdict(False, f"the champion's {_without_error(old)}")
    assert new.standard_error is not None
    assert old.standard_error is not None
    gain = _gain(new, old)
    parts = [(new.standard_error, new.terms), (old.standard_error, old.terms)]
    needed = interval_factor(degrees_of_difference(parts)) * math.hypot(new.standard_error, old.standard_error)
    pair = f"{new.name} {shown_figure(new)}", shown_figure(old)
    if gain > needed:
        return Verdict(True, f" {'above' if new.higher_is_better else 'below'} ".join(pair))
    if gain < -needed:
        return Verdict(False, f"{pair[0]} is worse than {pair[1]}")
    return Verdict(False, f"{pair[0]} and {pair[1]} differ by {abs(gain):.2g}, within the interval of ± {needed:.2g}")


def _gain(new: ModelFigure, old: ModelFigure) -> float:
    return new.value - old.value if new.higher_is_better else old.value - new.value


def _differences(new: ModelFigure, old: ModelFigure) -> str:
    names = sorted(
        name for name in new.conditions.keys() | old.conditions if new.conditions.get(name) != old.conditions.get(name)
    )
    return ", ".join(f"{name} {_condition(new, name)} here and {_condition(old, name)} there" for name in names)


def _condition(figure: ModelFigure, name: str) -> str:
    value = figure.conditions.get(name, "by default")
    is_digest = len(value) == len(sha256(b"")) and all(char in "0123456789abcdef" for char in value)
    return value[:_DIGITS] if is_digest else value
