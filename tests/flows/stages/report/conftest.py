"""A report of the tiny run, and a reader of its page."""

from html.parser import HTMLParser

import pytest

from flows.stages.report.page import write_report
from tests.conftest import TinyRun


class Page(HTMLParser):
    """All tags, attributes and texts; fails where a tag is left open."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


# The plots of a run without comparable ones beside it.
PLOTS = (
    "bits_per_dim_estimate",
    "bound_by_timestep",
    "fd_pixels_along",
    "figures",
    "held_out_loss",
    "loss",
    "loss_by_quarter",
    "rate_distortion",
    "steps",
)


def links(page: Page) -> list[dict[str, str | None]]:
    """The attributes of all links but those to the numbers of plots."""
    return [attributes for tag, attributes in page.tags if tag == "a" and "download" not in attributes]


@pytest.fixture(scope="module")
def _first() -> dict[str, bytes]:
    return {}


@pytest.fixture
def written(tiny_run: TinyRun, _first: dict[str, bytes]) -> str:
    """The page; drawn once, laid down again for every further test."""
    if not _first:
        assert write_report("my-run", tiny_run.store, tiny_run.finished, {}) == "reports/my-run"
        _first.update({name: tiny_run.store.read(name) for name in tiny_run.store.list("reports")})
    for name, data in _first.items():
        tiny_run.store.put_if_absent(name, data)
    return _first["reports/my-run/report.html"].decode()
