"""The card of a data set: pictures, histograms and an account of every image, from the sealed output alone."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ddpm_core.network.image_size import image_sides
from flows.pages.page import render
from flows.pages.pictures import bars, histogram, sample_grid
from flows.stages.prepare.account import by_suffix, classes_line, kind_line, splits_line
from infra.digests import Json
from infra.outputs.images import DatasetReader, Images
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.rows import RowReader
from infra.sources.tally import OTHERS
from infra.storage.store import Store

_GRID = 64
_QUARANTINED_SHOWN = 50
_MOST_BARS = 40
_DIGEST_SHOWN = 12
_SPLITS = ("train", "test")
_CHANNELS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "opacity")}


def render_card(store: Store, manifest: Manifest) -> str:
    """Render the card as HTML that needs no other file.

    Args:
        store: The store that holds the data set.
        manifest: The manifest of the sealed data set.

    Raises:
        IntegrityError: If the data set differs from what was sealed.
    """
    facts, settings = manifest.facts, manifest.facts["settings"]
    channels = settings["channels"]
    shown = _spaced_images(store, manifest)
    histograms = dict(zip(_CHANNELS[channels], facts["histogram"], strict=True))
    quarantined = _read_quarantine(store, manifest)
    return render(
        "card.html",
        train_images=f"{facts['images']['train']:,}",
        test_images=f"{facts['images']['test']:,}",
        shape="×".join(map(str, (*image_sides(settings["image_size"]), channels))),
        levels=facts["levels"],
        digest=manifest.digest,
        shown=len(shown),
        grid=sample_grid(shown),
        kind=kind_line(facts),
        splits=splits_line(facts),
        classes=_classes(facts),
        classes_line=classes_line(facts),
        histogram=histogram(histograms),
        channels=[
            {"name": name, "mean": f"{mean:.3f}", "std": f"{std:.3f}"}
            for name, mean, std in zip(histograms, facts["mean"], facts["std"], strict=True)
        ],
        account=_account(facts),
        others=by_suffix(facts),
        quarantined=[image | {"sha256": image["sha256"][:_DIGEST_SHOWN]} for image in quarantined[:_QUARANTINED_SHOWN]],
        quarantined_more=max(len(quarantined) - _QUARANTINED_SHOWN, 0),
        fit=facts["fit"],
        settings=json.dumps(settings),
    )


def _spaced_images(store: Store, manifest: Manifest) -> Images:
    count = manifest.facts["images"]["train"]
    numbers = np.unique(np.linspace(0, count - 1, min(_GRID, count)).astype(np.int64))
    images, _ = RowReader(DatasetReader(store=store, manifest=manifest), "train", 1)(numbers)
    return images


def _classes(facts: Json) -> dict[str, Any] | None:
    """Return the classes, the size of the rarest and a picture of all sizes; None if there are no classes."""
    names = facts["class_names"]
    if not names:
        return None
    sizes = {split: [facts["classes"][split].get(str(label), 0) for label in range(len(names))] for split in _SPLITS}
    picture = bars(names, sizes) if len(names) <= _MOST_BARS else None
    return {"names": names, "fewest": f"{min(sizes['train']):,}", "bars": picture}


def _account(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("found", facts["read"]),
        ("written", sum(facts["images"].values())),
        ("in quarantine", facts["quarantined"]),
    ]
    rows += [(f"left out: {reason}", count) for reason, count in facts["filtered"].items()]
    for key, count in facts.get("left_out", {}).items():
        rows.append((f"beside these, images {'of other keys' if key == OTHERS else f'called {key}'}", count))
    rows += [(f"of these, images that look like {key} of others", n) for key, n in facts.get("doubtful", {}).items()]
    rows += [(f"with a warning: {kind}", count) for kind, count in facts.get("warnings", {}).items()]
    return [(label, f"{count:,}") for label, count in rows]


def _read_quarantine(store: Store, manifest: Manifest) -> list[dict[str, str]]:
    if not manifest.facts["quarantined"]:
        return []
    images: list[dict[str, str]] = json.loads(read_verified(store, manifest.folder, manifest.facts["quarantine"]))
    return images
