"""The summary of a finished run: a table for the terminal, and the same with a picture as Markdown for a page."""

import base64
from collections.abc import Mapping, Sequence

from rich.table import Table

from flows.account import Row


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table for the terminal."""
    lines = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        lines.add_row(*row)
    return lines


def render_run_page(name: str, rows: Sequence[Row], picture: bytes, links: Mapping[str, str]) -> str:
    """Return rows, links and the sample grid as Markdown; the picture is embedded, so the page needs no other file."""
    lines = [f"## {name}", "", "| | figure | |", "|---|---:|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    lines += ["", render_links(links)]
    return "\n".join([*lines, "", f"![samples](data:image/png;base64,{base64.b64encode(picture).decode()})", ""])


def render_links(links: Mapping[str, str]) -> str:
    """Return addresses as a Markdown list, by their labels."""
    return "\n".join(f"* {label.strip()}: {_link(address)}" for label, address in links.items())


def _link(address: str) -> str:
    """Return a web address as a link, and a path or command as code."""
    return f"<{address}>" if address.startswith(("http://", "https://")) and " " not in address else f"`{address}`"
