"""The end of a run in few lines: its table on the terminal, and the same with pictures as Markdown for a page."""

import base64
from collections.abc import Mapping, Sequence

from rich.table import Table

from flows.stage import Row


def table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    made = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*row)
    return made


def render_run_page(name: str, rows: Sequence[Row], picture: bytes, links: Mapping[str, str]) -> str:
    """Rows, sample grid and links as Markdown; the picture is inside, so that the page needs no other file."""
    lines = [f"## {name}", "", "| | figure | |", "|---|---:|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    lines += ["", *(f"* {what.strip()}: {_link(address)}" for what, address in links.items())]
    return "\n".join([*lines, "", f"![samples](data:image/png;base64,{base64.b64encode(picture).decode()})", ""])


def _link(address: str) -> str:
    """An address to click, or a path or command to copy."""
    return f"<{address}>" if address.startswith(("http://", "https://")) and " " not in address else f"`{address}`"
