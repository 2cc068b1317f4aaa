"""A page of HTML that needs no other file: its frame, and pictures inside it."""

import base64
import html
from collections.abc import Sequence

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 880px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p { margin: .3rem 0 .8rem } .quiet { color: #57606a; font-size: .9rem }
img { max-width: 100%; height: auto } .pixels { image-rendering: pixelated; width: 420px }
table { border-collapse: collapse; font-size: .95rem } th { text-align: left; font-weight: 600 }
td, th { padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #e4e8ec; vertical-align: top }
td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
code { font-size: .85em; overflow-wrap: anywhere } .headline td { font-size: 1.15rem }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """Put sections of HTML into a page."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_CSS}</style></head>'
        f"<body>{''.join(sections)}</body></html>"
    )


def image(png: bytes, alt: str, *, pixels: bool = False) -> str:
    """A picture as a paragraph; `pixels` shows them enlarged and sharp."""
    kind = ' class="pixels"' if pixels else ""
    return f'<p><img{kind} alt="{alt}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'
