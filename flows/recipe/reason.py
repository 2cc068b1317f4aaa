"""The reason why an output is not sealed, in words: what was begun, or what differs from the nearest other output."""

import re
from collections.abc import Mapping
from typing import Any

from flows.missing import Missing
from infra.outputs.similar import Nearest, Similar, nearest

_GOAL = re.compile(r"/manifests/(\w+)-(\d+)\.json$")
_SHOWN_DIGITS = 8
_MOST = 4
# The inputs of plans, as users know them.
_INPUTS = {
    "listing": "the images of the source",
    "dataset": "the data set",
    "snapshot": "the network",
    "images": "the images",
    "initial": "the network to start from",
    "file": "the file",
}


def reason(missing: Missing, stage: str, usual: Mapping[str, Any]) -> str:
    """Return the reason why an output is not sealed.

    Args:
        missing: The output.
        stage: The stage that makes it, for the names of settings.
        usual: The defaults of the stage's settings.
    """
    output = missing.output
    part = "" if output.plan.stage == stage else f"{output.plan.stage}: "
    if sealed := _sealed_goals(missing):
        name, amount = next(iter(missing.goal.items()))
        return f"{part}{stage}.{name} {max(sealed):,} is sealed, {amount:,} is asked for"
    if output.attempt:
        return f"{part}it is computed anew beside what is sealed"
    if output.store.exists(f"{output.folder}/plan.json"):
        return f"{part}it was begun and is not sealed"
    found = nearest(output.plan, output.store, usual)
    return f"{part}{_comparison(found, stage, usual)}"


def _sealed_goals(missing: Missing) -> list[int]:
    """Return the goals of the output that are sealed below the missing one, or all of them if none is below."""
    (wanted,) = missing.goal.values() if len(missing.goal) == 1 else (None,)
    if wanted is None:
        return []
    names = missing.output.store.list(f"{missing.output.folder}/manifests")
    sealed = [int(match[2]) for name in names if (match := _GOAL.search(name)) and match[1] in missing.goal]
    return [amount for amount in sealed if amount < wanted] or sealed


def _comparison(found: Nearest, stage: str, usual: Mapping[str, Any]) -> str:
    """Return how the nearest output differs; if not all others were read, it says of how many."""
    if found.there is None:
        return "nothing is known of others, as the store did not answer"
    is_cut = found.read < found.there
    if found.output is not None:
        cut = f" (the nearest of {found.read:,} that were read, of {found.there:,})" if is_cut else ""
        return f"{_words(found.output, stage, usual)}{cut}"
    if is_cut:
        return f"no other is known: of {found.there:,} below this root, {found.read:,} were read"
    return "there is no other below this root"


def _words(found: Similar, stage: str, usual: Mapping[str, Any]) -> str:
    # A plan may also hold what no user sets, such as the keys of outputs that figures rest on.
    settings = {name: values for name, values in found.settings.items() if name in usual}
    unlike = [f"{stage}.{name} {there} there, {here} here" for name, (there, here) in settings.items()]
    for name, (there, here) in found.inputs.items():
        if there and here:
            unlike.append(f"{_INPUTS.get(name, name)} {there[:_SHOWN_DIGITS]} there, {here[:_SHOWN_DIGITS]} here")
        else:
            unlike.append(f"{_INPUTS.get(name, name)} only {'there' if there else 'here'}")
    if not unlike:
        unlike = ["another release made it" if found.is_older else "it rests on other outputs"]
    more = f" and {len(unlike) - _MOST} more" if len(unlike) > _MOST else ""
    return f"unlike {found.folder}: {', '.join(unlike[:_MOST])}{more}"
