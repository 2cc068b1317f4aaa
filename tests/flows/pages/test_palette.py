"""One palette for the pages, their pictures and the docs: no other file names a colour."""

import re
from itertools import combinations
from pathlib import Path

from docs import seed_svg
from flows.pages import palette
from flows.pages.page import environment

TOP = Path(__file__).parents[3]
EMPTY = '{% extends "frame.html" %}{% block title %}x{% endblock %}{% block body %}y{% endblock %}'
COLOUR = re.compile(r"#[0-9a-fA-F]{3}(?:[0-9a-fA-F]{3})?\b")


def test_no_other_file_names_a_colour() -> None:
    files = [*TOP.glob("flows/**/*.py"), *TOP.glob("flows/**/*.html"), *TOP.glob("docs/*.py")]
    naming = {path.relative_to(TOP).as_posix() for path in files if COLOUR.search(path.read_text())}
    assert naming == {"flows/pages/palette.py"}


def test_pages_and_docs_have_its_colours() -> None:
    page = environment().from_string(EMPTY).render()
    colours = {palette.INK, palette.QUIET, palette.RULE, palette.PAPER, palette.BLUE, palette.VERMILION}
    assert set(COLOUR.findall(page)) == colours
    svg = seed_svg.picture(10, 10, [])
    assert set(COLOUR.findall(svg)) == {palette.INK, palette.RULE, palette.PAPER}


def test_lines_can_be_told_apart_and_seen_on_the_ground() -> None:
    def channels(colour: str) -> list[int]:
        return list(bytes.fromhex(colour[1:]))

    for one, other in combinations((*palette.SERIES, palette.PAPER), 2):
        assert sum(abs(a - b) for a, b in zip(channels(one), channels(other), strict=True)) > 100, (one, other)
