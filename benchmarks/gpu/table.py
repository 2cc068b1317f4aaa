"""The rows as Markdown, a table per section."""

from typing import Any


def figure(value: object) -> str:
    """A value as text: four significant digits, a range for two numbers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return " to ".join(figure(part) for part in value)
    return str(value)


def as_table(rows: list[dict[str, Any]], is_measurement: bool) -> str:
    """Return one table for each section, its columns the figures that any of its rows has."""
    lines = ["# Measured on a GPU", "", "By `make gpu`; medians, with quartiles.", ""]
    if not is_measurement:
        lines[:4] = [
            "# No measurement",
            "",
            "A trial of the program at toy size or on a processor: no figure counts.",
            "",
        ]
    for section in dict.fromkeys(row["section"] for row in rows):
        own = [row for row in rows if row["section"] == section]
        columns = list(dict.fromkeys(name for row in own for name in row if name not in ("section", "what")))
        names = [section, *(name.replace("_", " ") for name in columns)]
        lines.append(_line(names))
        lines.append("|" + "---|" * len(names))
        lines += [_line([row["what"], *(figure(row.get(name, "")) for name in columns)]) for row in own]
        lines.append("")
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
