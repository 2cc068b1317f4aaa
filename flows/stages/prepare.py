"""Prepare: a source of images to a sealed data set, by Ray Data."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from flows.artifacts import Dataset
from flows.config import PrepareConfig
from flows.context import Context
from flows.preparation import Part, PrepareTask
from infra.device import environment
from infra.errors import InputError
from infra.plan import Manifest, Output, Plan, canonical_json, current
from infra.ray_units import Workers
from infra.sources.digits import DigitsSource
from infra.sources.folder import FolderSource
from infra.sources.idx import IdxSource
from infra.sources.source import FIT_RULE, Listing, Source
from infra.store import sha256

STAGE = "prepare"
FORMAT_VERSION = 1
SPLITS = ("train", "test")
_MIN_IMAGES = 2


def prepare(config: PrepareConfig, context: Context) -> Dataset:
    """Seal a data set.

    Units are made of consecutive images of one split, in the source's order, so their bytes do not depend on who makes
    them. Held-out images are those of the source's own test split, or, where it gives none, those whose content hash
    falls below `holdout_fraction`.

    Raises:
        InputError: If the source is missing, empty or holds an image that cannot be decoded.
    """
    source = _source(config)
    listing = _split(source.list(), config.holdout_fraction)
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.result_settings(),
        inputs={"listing": _listing_digest(listing)},
    )
    output = current(Output(store=context.store, plan=plan), force=context.force)
    if (sealed := output.manifest({})) is not None:
        return _artifact(sealed, reused=True)
    parts = _parts(listing, config.unit_images)
    output.begin(environment("cpu"))
    missing = [unit for unit in range(len(parts)) if output.record(f"units/{unit:06d}") is None]
    done = len(parts) - len(missing)
    task = PrepareTask(
        output=output, source=source, parts=parts, image_size=config.image_size, channels=config.channels
    )

    def count(_: int) -> None:
        nonlocal done
        done += 1
        context.on_progress(done, len(parts))

    workers = Workers(count=config.workers or os.cpu_count() or 1)
    context.cluster.run_units(task, missing, workers=workers, stage=STAGE, on_done=count)
    return _artifact(_seal(output, parts, listing), reused=False)


def _source(config: PrepareConfig) -> Source:
    if config.kind == "digits":
        return DigitsSource()
    if not config.source:
        raise InputError("is not set", item="prepare.source", remedy="--set prepare.source=PATH")
    try:
        folder = str(Path(config.source).expanduser().absolute())
    except RuntimeError as error:
        raise InputError("there is no such home folder", item=f"prepare.source {config.source}") from error
    return IdxSource(folder) if config.kind == "idx" else FolderSource(folder)


def _split(listing: Listing, holdout_fraction: float) -> Listing:
    """Give each item its split, in the order train, test."""
    given = {item.split for item in listing.items}
    if given >= set(SPLITS):
        items = [item for item in listing.items if item.split]
    else:
        limit = holdout_fraction * 2**32
        items = [replace(item, split="test" if int(item.digest[:8], 16) < limit else "train") for item in listing.items]
    for split in SPLITS:
        found = sum(item.split == split for item in items)
        if found < _MIN_IMAGES:
            raise InputError(
                f"only {found} of {len(items)} images fall to the {split} split, and {_MIN_IMAGES} are needed",
                item="prepare.source",
                remedy="add images or change prepare.holdout_fraction",
            )
    ordered = [item for split in SPLITS for item in items if item.split == split]
    return Listing(items=ordered, class_names=listing.class_names)


def _listing_digest(listing: Listing) -> str:
    rows = [[item.name, item.digest, item.split, item.label] for item in listing.items]
    return sha256(canonical_json([listing.class_names, rows]))


def _parts(listing: Listing, unit_images: int) -> list[Part]:
    parts: list[Part] = []
    first_id = 0
    for split in SPLITS:
        items = [item for item in listing.items if item.split == split]
        for start in range(0, len(items), unit_images):
            chunk = items[start : start + unit_images]
            parts.append(Part(split=split, first_id=first_id, items=chunk))
            first_id += len(chunk)
    return parts


def _seal(output: Output, parts: list[Part], listing: Listing) -> Manifest:
    units = []
    occurs = np.zeros(256, dtype=bool)
    for number in range(len(parts)):
        record = output.record(f"units/{number:06d}")
        assert record is not None, f"unit {number} was committed and has no record"
        units.append({"unit": number, "rows": record.facts["rows"], **record.as_json()})
        occurs |= np.unpackbits(np.frombuffer(bytes.fromhex(record.facts["levels"]), dtype=np.uint8)).astype(bool)
    facts = {
        "images": {split: sum(u["rows"] for u in units if u["facts"]["split"] == split) for split in SPLITS},
        "class_names": listing.class_names,
        "levels": int(occurs.sum()),
        "fit": FIT_RULE,
    }
    return output.seal({}, units, facts)


def _artifact(manifest: Manifest, *, reused: bool) -> Dataset:
    settings, facts = manifest.plan["settings"], manifest.facts
    return Dataset(
        name=manifest.name,
        key=manifest.key,
        digest=manifest.digest,
        reused=reused,
        train_images=facts["images"]["train"],
        test_images=facts["images"]["test"],
        image_size=settings["image_size"],
        channels=settings["channels"],
        class_names=tuple(facts["class_names"]),
        levels=facts["levels"],
    )
