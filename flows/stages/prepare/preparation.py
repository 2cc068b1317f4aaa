"""Prepare: turns a source of images into a sealed data set, with Ray Data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flows.artifacts import Dataset
from flows.missing import Amount
from flows.nodes.environment import Environment
from flows.nodes.survey import Survey, SurveyedTask
from flows.stage import Context
from flows.stages.prepare.account import listing_facts, takes_splits
from flows.stages.prepare.card import render_card
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.duplicates import HashTask, find_duplicates
from flows.stages.prepare.holdout import (
    NOTHING,
    ContentTask,
    HeldOut,
    check_count,
    contents_name,
    held_out_of,
    held_out_unseen,
    read_contents,
)
from flows.stages.prepare.layout import card_name, is_committed, put_listing, unit_account
from flows.stages.prepare.sources import open_source
from flows.stages.prepare.total import Total
from flows.stages.prepare.units import PrepareTask, Rules
from infra.compute.units import UnitTask, Workers
from infra.digests import Json, canonical_json
from infra.errors import InputError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.sources.listing.listing import Listing, listed
from infra.sources.source import SPLITS, Source
from infra.storage.store import Store

STAGE = "prepare"
FORMAT_VERSION = 6
_REASONS_SHOWN = 3


def prepare(config: PrepareConfig, context: Context) -> Dataset:
    """Seal a data set.

    A unit holds consecutive entries of the source, so its bytes do not depend on the worker that makes it; it has a
    Parquet file per split. The source's own test split is held out. If the source has no splits, or `use_splits` is
    false, `holdout` says how many images are held out, and `flows.stages.prepare.holdout` which. Every entry is
    accounted for: read = written + filtered + quarantined.

    Args:
        config: The settings.
        context: The outside world.

    Raises:
        InputError: If the source is missing or empty, holds more bad images than allowed, or none to train on.
        IntegrityError: If the source changes during the work.
    """
    opened = open_source(config, context.store.uri)
    config, source = opened.config, opened.source
    with listed(source, config.reading, opened.sought) as listing:
        plan = _plan(config, listing)
        context.on_data(plan.key)
        given = takes_splits(config, listing)
        workers = Workers(count=config.workers)

        def make(output: Output, survey: Survey) -> Manifest:
            work = _Work(
                config=config,
                context=context,
                source=source,
                listing=listing,
                output=output,
                survey=survey,
                workers=workers,
                splits_given=given,
                test_kind=opened.test_kind,
            )
            return work.run()

        environment = Environment(work="preparing", workers=workers)
        amount = Amount(total=listing.count, each=config.images_a_file)
        manifest, reused = context.sealed(plan, {}, lambda: environment, make, amount=amount, noun="data set")
    _check_bad(config, manifest.facts["quarantined"], manifest.facts["read"], "see its card.html")
    _put_card(context.store, manifest)
    return Dataset.of(manifest, reused=reused)


def find_data_key(config: PrepareConfig, root: str) -> str:
    """Return the key of the data set that `prepare` would seal; it lists the source and reads no image.

    Args:
        config: The settings.
        root: The root of all outputs.

    Raises:
        InputError: If the source is missing or empty, or all images would be held out.
    """
    opened = open_source(config, root)
    with listed(opened.source, opened.config.reading, opened.sought) as listing:
        return _plan(opened.config, listing).key


def _plan(config: PrepareConfig, listing: Listing) -> Plan:
    if not takes_splits(config, listing):
        check_count(config.holdout, listing.count)
    return Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings(),
        inputs={"listing": listing.digest},
    )


def rules_of(config: PrepareConfig, listing: Listing, held_out: str = "") -> Rules:
    """Return the rules by which the images of a listing are prepared; `held_out` is that of `Rules`."""
    return Rules(
        shape=config.shape,
        min_side=config.min_side,
        held_out=held_out,
        splits_given=takes_splits(config, listing),
        class_names=tuple(listing.class_names),
        quarantine=config.on_bad_image == "quarantine",
    )


def _put_card(store: Store, manifest: Manifest) -> None:
    """Put the data set's card beside it, if it has none yet."""
    card = card_name(manifest)
    if not store.exists(card):
        store.put_if_absent(card, render_card(store, manifest).encode())


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work on a data set that is not sealed yet."""

    config: PrepareConfig
    context: Context
    source: Source
    listing: Listing
    output: Output
    survey: Survey
    workers: Workers
    splits_given: bool
    test_kind: str

    def run(self) -> Manifest:
        """Run the missing units and seal the output."""
        units = -(-self.listing.count // self.config.images_a_file)
        for number, part in enumerate(self.listing.parts(self.config.images_a_file)):
            put_listing(self.output, number, part)
        drop = self.config.drop_duplicates
        if drop:
            hashes = HashTask(output=self.output, source=self.source, splits_given=self.splits_given)
            self._run_units(
                hashes,
                units,
                lambda unit: self.output.record(f"hashes/{unit:06d}") is not None,
                phase="looking for duplicates",
            )
            if self.output.record("duplicates") is None:
                self.output.commit("duplicates", "json", canonical_json(find_duplicates(self.output, units)), {})
        held_out = NOTHING if self.splits_given else self._held_out(units)
        task = PrepareTask(
            output=self.output,
            source=self.source,
            rules=rules_of(self.config, self.listing, held_out.limit),
            unit_images=self.config.images_a_file,
            duplicates=drop,
        )
        self._run_units(task, units, lambda unit: is_committed(self.output, unit))
        return self._seal(units, held_out)

    def _held_out(self, units: int) -> HeldOut:
        """Choose the images to hold out; if their number or order counts, from the digests of all that are prepared."""
        holdout = self.config.holdout
        if (held_out := held_out_unseen(holdout, self.listing.count)) is not None:
            return held_out
        task = ContentTask(
            output=self.output,
            source=self.source,
            rules=rules_of(self.config, self.listing),
            duplicates=self.config.drop_duplicates,
        )
        self._run_units(
            task,
            units,
            lambda unit: self.output.record(contents_name(unit)) is not None,
            phase="looking for images to hold out",
        )
        return held_out_of(holdout, read_contents(self.output, units))

    def _run_units(self, task: UnitTask, units: int, is_done: Callable[[int], bool], phase: str = "") -> None:
        self.context.run_missing(
            SurveyedTask(task=task, survey=self.survey, output=self.output),
            range(units),
            stage=STAGE,
            workers=self.workers,
            is_done=is_done,
            size=self._images,
            phase=phase,
            less_memory="set a smaller prepare.unit_images or fewer prepare.workers",
        )

    def _images(self, unit: int) -> int:
        size = self.config.images_a_file
        return min(size, self.listing.count - unit * size)

    def _seal(self, units: int, held_out: HeldOut) -> Manifest:
        account = Total(self.config.channels)
        files: dict[str, list[Json]] = {split: [] for split in SPLITS}
        for unit in range(units):
            part = unit_account(self.output, unit)
            account.add(part)
            for split, record in part["files"].items():
                files[split].append({"unit": unit, "rows": record["facts"]["rows"], **record})
        self._check(account)
        quarantine = self.output.commit("quarantine", "json", canonical_json(account.quarantined), {})
        facts = {
            **account.facts(),
            **listing_facts(self.config, self.listing, self.test_kind),
            "quarantine": quarantine.as_json(),
            "held_out_by": "" if self.splits_given else held_out.by.value,
        }
        return self.output.seal({}, [unit for split in SPLITS for unit in files[split]], facts)

    def _check(self, account: Total) -> None:
        reasons = "; ".join(f"{image['name']}: {image['reason']}" for image in account.quarantined[:_REASONS_SHOWN])
        _check_bad(self.config, len(account.quarantined), account.read, reasons)
        if not account.written["train"]:
            splits = (
                "another prepare.source"
                if self.config.test_sources
                else "prepare.use_splits=false, a smaller prepare.holdout"
            )
            raise InputError(
                f"none of {account.read:,} images is left to train on{_counts(account.filtered)}",
                item="prepare.source",
                remedy=f"set {splits} or a smaller prepare.min_side",
            )


def _check_bad(config: PrepareConfig, bad: int, total: int, details: str) -> None:
    if bad > config.max_bad_fraction * total:
        raise InputError(
            f"{bad} of {total} images are bad ({details})",
            item="prepare.source",
            remedy="repair them or raise prepare.max_bad_fraction",
        )


def _counts(filtered: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{count:,} {reason}' for reason, count in sorted(filtered.items()))})" if filtered else ""
