"""The generated parts of the Markdown pages: the picture of the stages, and tables of everything that can be set.

`python -m docs.reference` writes them anew, between the markers that name them. A new table is one line of `PARTS` and
a pair of markers on some page.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ddpm_core.choices import Choice
from docs import parity, presets, sweeps
from flows.cli import BUG, SIGNALS
from flows.metrics.choices import MetricName
from flows.recipe.presets.table import PRESETS
from flows.runtime.settings import RunSettings
from flows.stage import Stage
from flows.stage_config import StageConfig
from flows.stages.prepare.config import Fit, LabelOption, ResizeFilter, SourceKind
from flows.stages.table import STAGES
from infra.errors import DdpmError
from infra.sources.image_formats import IMAGE_FORMATS
from infra.sources.listing.ruling import AUTO_ORDER

TOP = Path(__file__).parent.parent
COMMAND = "python -m docs.reference"
_PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end of generated -->)", re.DOTALL)
_MADE, _READ, _PASSED = "●", "○", "│"
# Larger bounds are written as powers of two.
_LARGEST_DIGITS = 10_000_000
_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
# Choices whose options are a part of their own on another page than the settings.
_DATASETS, _METRICS = "[datasets.md](datasets.md)", "[metrics.md](metrics.md)"
ELSEWHERE: Mapping[type[Choice], str] = MappingProxyType(
    {SourceKind: _DATASETS, ResizeFilter: _DATASETS, Fit: _DATASETS, MetricName: _METRICS}
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def stage_picture(stages: Sequence[Stage[Any, Any]] = STAGES) -> str:
    """The stages from top to bottom, a column per artifact: a dot if the stage makes it, a circle if it reads it."""
    names = [stage.name for stage in stages]
    width, result_width = max(map(len, names)), max(len(stage.artifact.__name__) for stage in stages)
    lines = []
    for number, stage in enumerate(stages):
        if number:
            lines.append(f"{'':{width}}  {'  '.join(_PASSED * number)}")
        cells = [_READ if name in stage.inputs else _PASSED for name in names[:number]]
        rails = (*cells, _MADE)
        first = rails.index(_READ) if _READ in rails else number
        drawn = "".join(rail + ("──" if first <= place < number else "  ") for place, rail in enumerate(rails))
        artifact = f"{stage.artifact.__name__:{result_width}}"
        lines.append(f"{stage.name:{width}}  {drawn:{3 * len(stages)}} {artifact}  {stage.about.rstrip('.')}")
    legend = f"{_MADE} makes   {_READ} reads   {_PASSED} passes by"
    return "\n".join(["```", *lines, "", f"{'':{width}}  {legend}", "```"])


def preset_list() -> str:
    """The presets, with a sentence about each."""
    return table(("preset", "data and time"), ((f"`{name}`", one.about) for name, one in PRESETS.items()))


def preset_table() -> str:
    """The presets, and every setting in which one of them differs from the defaults."""
    rows = []
    for stage in _with_settings():
        for name, field in stage.config.model_fields.items():
            values = [getattr(getattr(one.config, stage.name), name) for one in PRESETS.values()]
            if any(value != field.default for value in values):
                rows.append([f"`{stage.name}.{name}`", *map(_code, values)])
    return f"{preset_list()}\n\n{table(('setting', *(f'`{name}`' for name in PRESETS)), rows)}"


def setting_tables(stage: Stage[Any, Any]) -> str:
    """Every setting of a stage, then the options of each of its choices."""
    config: type[StageConfig] = stage.config
    properties = config.model_json_schema()["properties"]
    rows, choices = [], []
    for name, field in config.model_fields.items():
        about = field.description or ""
        values = _range(properties[name])
        chosen = field.default[0] if isinstance(field.default, list) and field.default else field.default
        if isinstance(chosen, Choice):
            kind = type(chosen)
            about, _, _ = about.partition(f". {next(iter(kind))}: ")
            values = ELSEWHERE.get(kind, "below")
            if kind not in ELSEWHERE:
                choices.append(option_table(kind, f"`{stage.name}.{name}`", stage.name))
        role = config.role(name) or "result"
        rows.append([f"`{stage.name}.{name}`", _code(field.default), values, role, about])
    return "\n\n".join([table(("setting", "default", "range", "role", "description"), rows), *choices])


def option_table(kind: type[Choice], head: str, stage: str = "") -> str:
    """The options of a choice, each with the settings that it uses and some other option ignores."""
    if not stage or not any(option.uses for option in kind):
        return table((head, "description"), ((f"`{option}`", option.description) for option in kind))
    rows = (
        (f"`{option}`", option.description, ", ".join(f"`{stage}.{name}`" for name in option.uses)) for option in kind
    )
    return table((head, "description", "settings that it uses"), rows)


def image_format_table() -> str:
    """The formats of image files, with the suffixes by which they are found."""
    rows = ((one.name, ", ".join(f"`{suffix}`" for suffix in one.suffixes), one.note) for one in IMAGE_FORMATS)
    return table(("format", "suffixes", "taken of it"), rows)


def run_table() -> str:
    """The settings of a run that no result depends on."""
    fields = RunSettings.model_fields.items()
    head = ("setting of a run", "default", "description")
    return table(head, ((f"`{name}`", _code(field.default), field.description or "") for name, field in fields))


def exit_code_table() -> str:
    """Every exit code of `ddpm`."""
    errors = sorted(DdpmError.__subclasses__(), key=lambda kind: kind.exit_code)
    rows = [(0, "Success"), (BUG, "A bug of ours; the line names the file with the traceback")]
    rows += [(kind.exit_code, (kind.__doc__ or "").strip().rstrip(".")) for kind in errors]
    rows += [(code, f"Interrupted by {number.name}") for number, code in SIGNALS.items()]
    return table(("exit code", "meaning"), ((str(code), meaning) for code, meaning in rows))


def _with_settings() -> list[Stage[Any, Any]]:
    return [stage for stage in STAGES if stage.config is not type(None)]


def _code(value: object) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _range(schema: Mapping[str, Any]) -> str:
    """The values that a setting may have, from its JSON schema; empty if its type or its options say it."""
    if "enum" in schema:
        return ", ".join(map(_code, schema["enum"]))
    if schema.get("type") == "boolean":
        return "`false`, `true`"
    low, above, high, below = (schema.get(bound) for bound in _BOUNDS)
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    parts = (("at least", low), ("above", above), ("at most", high), ("below", below))
    return ", ".join(f"{word} {_number(bound)}" for word, bound in parts if bound is not None)


def _number(bound: float) -> str:
    if bound < _LARGEST_DIGITS:
        return f"{bound:g}" if isinstance(bound, float) else str(bound)
    exponent = (int(bound) + 1).bit_length() - 1
    return f"2^{exponent}" if bound == 1 << exponent else f"2^{exponent} − 1"


PARTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "stages": stage_picture,
        "presets": preset_table,
        "preset list": preset_list,
        **{stage.name: partial(setting_tables, stage) for stage in _with_settings()},
        "run": run_table,
        "sources": partial(option_table, SourceKind, "`prepare.kind`"),
        "labels": partial(option_table, LabelOption, "`prepare.labels`"),
        "order of labels": lambda: "\n".join(
            f"{number}. `{rule}`: {condition}." for number, (rule, condition) in enumerate(AUTO_ORDER.items(), start=1)
        ),
        "image formats": image_format_table,
        "fits": partial(option_table, Fit, "`prepare.fit`"),
        "resize filters": partial(option_table, ResizeFilter, "`prepare.resize_filter`"),
        "metrics": partial(option_table, MetricName, "`evaluate.metrics`", "evaluate"),
        "exit codes": exit_code_table,
        "a sweep": sweeps.sweep_table,
        "values of the paper": lambda: table(
            ("the paper or its code", "setting", *(f"`{name}`" for name in presets.PAPER), "source"),
            presets.value_rows(),
        ),
        "categories of LSUN": lambda: table(
            ("category", "steps", "flips", "parameters", "settings"), presets.category_rows()
        ),
        "rules of other programs": lambda: table(
            ("program", "resize", "rounding", "scale", "covariance"), parity.rule_rows()
        ),
        "FID of other programs": lambda: table(
            ("program", "images", "its FID", "ours by its rule", "difference", "ours"), parity.fid_rows()
        ),
        "other figures of other programs": lambda: table(
            ("program", "figure", *parity.COLLECTIONS.values()), parity.other_rows()
        ),
    }
)


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [*sorted(TOP.glob("*.md")), *sorted(TOP.glob("docs/*.md"))]


def part_names(text: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [name for _, name, _ in _PART.findall(text)]


def renewed(text: str) -> str:
    """A page with all its generated parts written anew."""
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


def main() -> None:
    """Write the generated parts of every page."""
    for page in pages():
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
