"""Prepare: turns a source of images into a sealed data set, with Ray Data."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flows.artifacts import Dataset
from flows.missing import Amount
from flows.nodes.environment import Environment
from flows.nodes.survey import Survey, SurveyedTask
from flows.options import in_options
from flows.stage import Context
from flows.stages.prepare.card import render_card
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.layout import card_name, is_committed, put_listing, unit_account
from flows.stages.prepare.sources import open_source
from flows.stages.prepare.units import HashTask, PrepareTask, Rules, find_duplicates
from infra.compute.units import UnitTask, Workers
from infra.digests import Json, canonical_json
from infra.errors import InputError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.sources.decode import fit_rule
from infra.sources.listing.listing import Listing, listed
from infra.sources.source import SPLITS, Source
from infra.storage.store import Store

STAGE = "prepare"
FORMAT_VERSION = 5
_MIN_IMAGES = 2
_REASONS_SHOWN = 3


def prepare(config: PrepareConfig, context: Context, splits: Sequence[str] = SPLITS) -> Dataset:
    """Seal a data set.

    A unit holds consecutive entries of the source, so its bytes do not depend on the worker that makes it; it has a
    Parquet file per split. The source's own test split is held out. If the source has no splits, or `use_splits` is
    false, an image is held out if the digest of its content falls below `holdout_fraction`. Every entry is accounted
    for: read = written + filtered + quarantined.

    Args:
        config: The settings.
        context: The outside world.
        splits: The splits that must have at least two images.

    Raises:
        InputError: If the source is missing or empty, or holds too few images or more bad ones than allowed.
        IntegrityError: If the source changes during the work.
    """
    source = open_source(config, context.store.uri)
    with listed(source, config.reading) as listing:
        plan = _plan(config, listing)
        context.on_data(plan.key)
        given = listing.splits_given and config.use_splits
        _check_splits(listing, splits, given=given)

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
                splits=splits,
                splits_given=given,
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
        InputError: If the source is missing or empty.
    """
    with listed(open_source(config, root), config.reading) as listing:
        return _plan(config, listing).key


def _plan(config: PrepareConfig, listing: Listing) -> Plan:
    return Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings(),
        inputs={"listing": listing.digest},
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
    splits: Sequence[str]
    splits_given: bool

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
        task = PrepareTask(
            output=self.output,
            source=self.source,
            rules=self._rules(),
            unit_images=self.config.images_a_file,
            duplicates=drop,
        )
        self._run_units(task, units, lambda unit: is_committed(self.output, unit))
        return self._seal(units)

    def _rules(self) -> Rules:
        return Rules(
            image_size=self.config.image_size,
            channels=self.config.channels,
            resize_filter=self.config.resize_filter,
            min_side=self.config.min_side,
            holdout_fraction=self.config.holdout_fraction,
            splits_given=self.splits_given,
            class_names=tuple(self.listing.class_names),
            quarantine=self.config.on_bad_image == "quarantine",
        )

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

    def _seal(self, units: int) -> Manifest:
        account = _Account(self.config.channels)
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
            "settings": self.config.result_settings(),
            "quarantine": quarantine.as_json(),
            "class_names": self.listing.class_names,
            "unlabelled": self.listing.unlabelled,
            "labels_from": self.listing.labels_from,
            "labels_note": in_options(self.listing.labels_note),
            "splits_from": self.listing.splits_from if self.splits_given else "",
            "others": self.listing.others,
            "fit": fit_rule(self.config.resize_filter),
        }
        return self.output.seal({}, [unit for split in SPLITS for unit in files[split]], facts)

    def _check(self, account: "_Account") -> None:
        reasons = "; ".join(f"{image['name']}: {image['reason']}" for image in account.quarantined[:_REASONS_SHOWN])
        _check_bad(self.config, len(account.quarantined), account.read, reasons)
        for split in self.splits:
            _check_split(split, account.written[split], account.read)


class _Account:
    """The sum over all units."""

    def __init__(self, channels: int) -> None:
        self.read = 0
        self.written: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.classes: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.quarantined: list[Json] = []
        self._histogram = [[0] * 256 for _ in range(channels)]

    def add(self, part: Json) -> None:
        """Add the account of one unit."""
        self.read += part["read"]
        self.written.update(part["written"])
        self.filtered.update(part["filtered"])
        self.quarantined += part["quarantined"]
        for split, counts in part["classes"].items():
            self.classes[split].update(counts)
        for total, counts in zip(self._histogram, part["histogram"], strict=True):
            total[:] = [so_far + count for so_far, count in zip(total, counts, strict=True)]

    def facts(self) -> Json:
        """Return the manifest's facts about the whole; means and deviations are per channel, of values 0..255."""
        occurs = [any(counts) for counts in zip(*self._histogram, strict=True)]
        moments = [_moments(counts) for counts in self._histogram]
        return {
            "read": self.read,
            "images": {split: self.written[split] for split in SPLITS},
            "filtered": dict(sorted(self.filtered.items())),
            "quarantined": len(self.quarantined),
            "classes": {split: _by_number(counts) for split, counts in self.classes.items()},
            "levels": sum(occurs),
            "histogram": self._histogram,
            "mean": [mean for mean, _ in moments],
            "std": [std for _, std in moments],
        }


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation of values 0..255 with these counts; the sums are exact integers."""
    n = max(sum(counts), 1)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    return first / n, ((second * n - first * first) / (n * n)) ** 0.5


def _by_number(counts: Iterable[str] | Counter[str]) -> dict[str, int]:
    tally = Counter(counts)
    return {label: tally[label] for label in sorted(tally, key=int) if int(label) >= 0}


def _check_bad(config: PrepareConfig, bad: int, total: int, details: str) -> None:
    if bad > config.max_bad_fraction * total:
        raise InputError(
            f"{bad} of {total} images are bad ({details})",
            item="prepare.source",
            remedy="repair them or raise prepare.max_bad_fraction",
        )


def _check_splits(listing: Listing, splits: Sequence[str], *, given: bool) -> None:
    """Refuse early a source that cannot give two images for each of these splits."""
    if given:
        for split in splits:
            _check_split(split, listing.splits[split], listing.count)
    elif listing.count < _MIN_IMAGES * len(splits):
        _check_split(splits[-1], max(listing.count - _MIN_IMAGES * (len(splits) - 1), 0), listing.count)


def _check_split(split: str, count: int, total: int) -> None:
    if count < _MIN_IMAGES:
        raise InputError(
            f"only {count} of {total} images are in the {split} split, and {_MIN_IMAGES} are needed",
            item="prepare.source",
            remedy="add images, or change prepare.holdout_fraction if the source has no splits",
        )
