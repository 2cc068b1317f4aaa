"""The card of a data set: pictures, histograms and the account of every image, made from the sealed output alone."""

import html
import json

import numpy as np

from flows.page import image, page
from flows.pictures import bars, histogram, sample_grid
from infra.dataset import DatasetReader
from infra.manifest import Json, Manifest, read_verified
from infra.row_reader import RowReader
from infra.store import Store

_GRID = 64
_QUARANTINED_SHOWN = 50
_MOST_BARS = 40
_SPLITS = ("train", "test")
_CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}


def render_card(store: Store, manifest: Manifest) -> str:
    """Render the card as HTML; everything that comes from outside is escaped.

    Args:
        store: Where the data set is.
        manifest: Of the sealed data set.
    """
    facts, settings = manifest.facts, manifest.facts["settings"]
    size, channels = settings["image_size"], settings["channels"]
    images = facts["images"]
    sections = [
        "<h1>Data set</h1>",
        f'<p class="quiet">{images["train"]:,} training and {images["test"]:,} held-out images of '
        f"{size}×{size}×{channels}, {facts['levels']} pixel values; digest <code>{manifest.digest}</code></p>",
        f"<h2>Images</h2><p>Evenly spaced over the training split.</p>{_grid(store, manifest)}",
        _classes(facts),
        _values(facts, channels),
        _account(facts),
        _quarantine(store, manifest),
        "<h2>How it was made</h2>"
        f"<p>{html.escape(facts['fit'])}.</p><p><code>{html.escape(json.dumps(settings))}</code></p>",
    ]
    return page("Data set", sections)


def _grid(store: Store, manifest: Manifest) -> str:
    count = manifest.facts["images"]["train"]
    numbers = np.unique(np.linspace(0, count - 1, min(_GRID, count)).astype(np.int64))
    reader = DatasetReader(store=store, manifest=manifest)
    drawn, _ = RowReader(reader, "train", 1)(numbers)
    return image(sample_grid(drawn), "training images", pixels=True)


def _classes(facts: Json) -> str:
    names = facts["class_names"]
    if not names:
        return "<h2>Classes</h2><p>None.</p>"
    counts = {split: [facts["classes"][split].get(str(n), 0) for n in range(len(names))] for split in _SPLITS}
    picture = image(bars(names, counts), "images of each class") if len(names) <= _MOST_BARS else ""
    fewest = min(counts["train"])
    return f"<h2>Classes</h2><p>{len(names)}; the rarest has {fewest:,} training images.</p>{picture}"


def _values(facts: Json, channels: int) -> str:
    lines = dict(zip(_CHANNELS[channels], facts["histogram"], strict=True))
    rows = "".join(
        f'<tr><td>{name}</td><td class="figure">{mean:.3f}</td><td class="figure">{std:.3f}</td></tr>'
        for name, mean, std in zip(lines, facts["mean"], facts["std"], strict=True)
    )
    return (
        "<h2>Pixel values</h2><p>0–255, over both splits.</p>"
        + image(histogram(lines), "histogram of pixel values")
        + f"<table><tr><th>channel</th><th>mean</th><th>standard deviation</th></tr>{rows}</table>"
    )


def _account(facts: Json) -> str:
    written = sum(facts["images"].values())
    rows = [("found", facts["read"]), ("written", written), ("in quarantine", facts["quarantined"])]
    rows += [(f"left out: {reason}", count) for reason, count in facts["filtered"].items()]
    cells = "".join(f'<tr><td>{html.escape(name)}</td><td class="figure">{count:,}</td></tr>' for name, count in rows)
    kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in facts["others"].items())
    others = f"<p>Other files, not read: {html.escape(kinds)}.</p>" if kinds else ""
    return f"<h2>Every image accounted for</h2><table>{cells}</table>{others}"


def _quarantine(store: Store, manifest: Manifest) -> str:
    if not manifest.facts["quarantined"]:
        return ""
    bad = json.loads(read_verified(store, manifest.folder, manifest.facts["quarantine"]))
    rows = "".join(
        f"<tr><td>{html.escape(one['name'])}</td><td>{html.escape(one['reason'])}</td>"
        f"<td><code>{one['sha256'][:12]}</code></td></tr>"
        for one in bad[:_QUARANTINED_SHOWN]
    )
    more = f"<p>{len(bad) - _QUARANTINED_SHOWN:,} more.</p>" if len(bad) > _QUARANTINED_SHOWN else ""
    table = f"<table><tr><th>image</th><th>why</th><th>sha256</th></tr>{rows}</table>"
    return f"<h2>In quarantine</h2>{table}{more}"
