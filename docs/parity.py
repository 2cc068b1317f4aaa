"""The tables of docs/fid.md that show what other programs do and what they measure, from tests/parity."""

from collections.abc import Sequence

from tests.parity import figures
from tests.parity.figures import Figure
from tests.parity.rules import RULES

COLLECTIONS = {"digits": "8x8", "small": "32x32", "large": "401x331"}


def rule_rows() -> list[Sequence[str]]:
    """One row per program and mode: resize, rounding, scale, covariance."""
    pins = {figure.program: (figure.version, figure.released) for figure in figures.read()}
    rows = []
    for (program, mode), rule in RULES.items():
        if (program, "fid") in {(figure.program, figure.metric) for figure in figures.read()}:
            version, released = pins[program]
            title = f"{program} {version} ({released})" + (f", `{mode}`" if mode else "")
            rows.append([title, rule.resize, rule.places, rule.scale, "unbiased, n − 1"])
    return rows


def fid_rows() -> list[Sequence[str]]:
    """One row per program and collection: its FID, ours by its rule, the difference, ours by our own rule."""
    fids = [figure for figure in figures.read() if figure.metric == "fid"]
    own = {figure.collection: figure.ours for figure in fids if figure.program == "torch-fidelity"}
    return [
        [
            _title(figure),
            COLLECTIONS[figure.collection],
            f"{figure.value:.6g}",
            f"{figure.ours:.6g}",
            _difference(figure),
            f"{own[figure.collection]:.6g}",
        ]
        for name in COLLECTIONS
        for figure in fids
        if figure.collection == name
    ]


def other_rows() -> list[Sequence[str]]:
    """One row per program and metric: its figure on each collection, and how far ours is from it."""
    found = {(_title(figure), figure.metric, figure.collection): figure for figure in figures.read()}
    rows = []
    for title, metric in dict.fromkeys((title, metric) for title, metric, _ in found if metric != "fid"):
        of = [found.get((title, metric, name)) for name in COLLECTIONS]
        cells = [f"{figure.value:.4g} ({_difference(figure)})" if figure else "" for figure in of]
        rows.append([title, metric.replace("_", " "), *cells])
    return rows


def _title(figure: Figure) -> str:
    return figure.program + (f" `{figure.mode}`" if figure.mode else "")


def _difference(figure: Figure) -> str:
    """The relative difference to one digit."""
    assert figure.ours is not None
    share = abs(figure.ours - figure.value) / abs(figure.value)
    return f"{share:.0e}".replace("e-0", "e-") if share else "0"
