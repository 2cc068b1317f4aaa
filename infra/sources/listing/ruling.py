"""The decision where the classes of a source come from (rule 4 of the placing)."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from infra.errors import InputError, Term
from infra.sources.listing.cells import Cell, Classes, held_out_split
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.listing.origins import Origins
from infra.sources.listing.survey import ClassFolders, Survey
from infra.sources.reading import AUTO, FILE_NAME, FOLDER, METADATA, NONE, Reading
from infra.sources.source import NoClasses


class LabelRule(StrEnum):
    """The origins of classes, in the order in which `auto` tries them."""

    OWN = "own"
    METADATA = "metadata"
    FOLDER = "folder"
    FILE_NAME = "file_name"
    NONE = "none"


# The rules in their order, with the condition on which `auto` takes each.
AUTO_ORDER = {
    LabelRule.OWN: "the source has labels: a column, a label array, CIFAR's, `.cls` and `.json` files beside images",
    LabelRule.METADATA: (
        "a `dataset.json`, `metadata.jsonl`, `metadata.csv` or `labels.csv`, or a table such as `train.csv` or "
        "`val_annotations.txt`, labels images by name"
    ),
    LabelRule.FOLDER: "the first folders below the split have several names and are neither numbered shards nor dates",
    LabelRule.FILE_NAME: (
        "all file names, or all in folders called train, are a word and a number (`cat_0001.png`), with several words, "
        "each repeated"
    ),
    LabelRule.NONE: "nothing of the above holds",
}


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """The decision where classes come from.

    Attributes:
        rule: The source of the classes.
        note: What was passed over or left out and the choice that takes it, for the user; may hold a `Term`.
        by_names_in_train: Whether the names of training images alone decided for file names.
    """

    rule: LabelRule
    note: str = ""
    by_names_in_train: bool = False


def decide(reading: Reading, survey: Survey, metadata: MetadataLabels, no_classes: NoClasses | None) -> Ruling:
    """Decide where classes come from.

    Args:
        reading: What the user chose.
        survey: The facts about all entries.
        metadata: The labels in metadata files, after all names were tried.
        no_classes: Why the source's own labels are no classes; None if they are or there are none.

    Raises:
        InputError: If metadata files are needed, and one cannot be read.
    """
    match reading.labels:
        case str(labels) if labels == AUTO:
            return _by_order(reading, survey, metadata, no_classes)
        case str(labels) if labels == NONE:
            return Ruling(rule=LabelRule.NONE)
        case str(labels) if labels == FOLDER:
            return Ruling(rule=LabelRule.FOLDER)
        case str(labels) if labels == FILE_NAME:
            return Ruling(rule=LabelRule.FILE_NAME)
    if no_classes:
        return Ruling(rule=LabelRule.NONE, note=no_classes.cause)
    if survey.labelled:
        return Ruling(rule=LabelRule.OWN)
    metadata.check()
    if metadata.spelling is not None and not metadata.trouble:
        return Ruling(rule=LabelRule.METADATA)
    # The note is an error's cause, which holds no `Term`.
    return Ruling(rule=LabelRule.NONE, note=metadata.trouble or _unused(metadata, with_choices=False))


def _by_order(reading: Reading, survey: Survey, metadata: MetadataLabels, no_classes: NoClasses | None) -> Ruling:
    """Rule 4: the first of `AUTO_ORDER` whose condition holds."""
    no_classes = _trouble(survey, metadata, no_classes)
    if no_classes:
        picks = f"{Term.LABELS}={no_classes.choice} picks one, " if no_classes.choice else ""
        return Ruling(rule=LabelRule.NONE, note=f"{no_classes.cause}; {picks}{Term.LABELS}=none ignores them")
    if survey.labelled:
        return Ruling(rule=LabelRule.OWN)
    if metadata.spelling is not None:
        return Ruling(rule=LabelRule.METADATA, note=_unused(metadata))
    unused, by_name = _unused(metadata), survey.file_names_are_classes
    by_name_in_train = reading.use_splits and survey.names_in_train_are_classes
    folders, depth = survey.class_folders(reading.label_depth), reading.label_depth
    if folders.several and (depth != 1 or not folders.like):
        deeper = f"folders in them count for nothing, {Term.LABEL_DEPTH}=0 takes the whole path"
        return Ruling(rule=LabelRule.FOLDER, note=unused or (deeper if folders.deeper and depth else ""))
    if by_name or by_name_in_train:
        return Ruling(rule=LabelRule.FILE_NAME, note=unused, by_names_in_train=not by_name)
    if folders.like:
        return Ruling(rule=LabelRule.NONE, note=unused or _like(folders, survey))
    return Ruling(rule=LabelRule.FOLDER if folders.any else LabelRule.NONE, note=unused)


def _trouble(survey: Survey, metadata: MetadataLabels, no_classes: NoClasses | None) -> NoClasses | None:
    """The reason why the first labels in the order are no classes: the source's own, else those in metadata files."""
    if no_classes or survey.labelled:
        return no_classes
    metadata.check(is_chosen=False)
    return NoClasses(metadata.trouble, "column:NAME") if metadata.trouble else None


def _like(folders: ClassFolders, survey: Survey) -> str:
    """The look of folders that are no classes by rule, with the choices that make them or those in them classes."""
    like = f"folders {folders.names} look like {folders.like}; {Term.LABELS}=folder makes them classes"
    if folders.deeper and (below := survey.class_folders(2)).several and not below.like:
        return f"{like}, {Term.LABEL_DEPTH}=2 the folders in them, as {below.first}"
    return like


def _unused(metadata: MetadataLabels, *, with_choices: bool = True) -> str:
    """Metadata files and tables that label no image, with the choices that take their labels."""
    notes = [metadata.unused]
    for table in metadata.passed_over:
        notes += [table.cause, table.choice if with_choices else ""]
    return "; ".join(filter(None, notes))


def with_bare_splits(
    ruling: Ruling,
    classes: Classes,
    cells: Collection[Cell],
    origins: Origins,
    metadata: MetadataLabels,
    *,
    with_choices: bool,
) -> Ruling:
    """Return the decision with a note on images without a class, although others have one.

    Args:
        ruling: The decision.
        classes: The classes.
        cells: The splits and classes that the placing gave.
        origins: The origins of the splits.
        metadata: The labels in metadata files.
        with_choices: Whether the note names the settings that choose otherwise; an error's cause holds no `Term`.
    """
    named = {split for split, label in cells if label}
    bare = [split for split in ("train", held_out_split(cells)) if (split, "") in cells and split not in named]
    is_unnamed = ruling.rule is LabelRule.METADATA and named and bare
    unnamed = f"{' and '.join(metadata.files[:3])} names no image of {origins.of_splits(bare)}" if is_unnamed else ""
    if classes.names:
        why = f", because {unnamed}" if unnamed else ""
        return _with_note(ruling, f"held-out images without one: {classes.bare:,}{why}") if classes.bare else ruling
    way = f"; put one there, or {Term.LABELS}=none ignores it" if with_choices else ""
    return _with_note(ruling, f"{unnamed}{way}") if unnamed else ruling


def _with_note(ruling: Ruling, note: str) -> Ruling:
    """Return the decision with one more note."""
    return replace(ruling, note="; ".join(filter(None, (ruling.note, note))))


def labels_note(ruling: Ruling, metadata: MetadataLabels) -> str:
    """Return the note of a decision, and how many rows name no image if metadata files label images."""
    unnamed = metadata.unnamed if ruling.rule is LabelRule.METADATA else ""
    return "; ".join(filter(None, (ruling.note, unnamed)))


def origin_of(rule: LabelRule, origins: Origins, metadata: MetadataLabels, *, folders: bool) -> str:
    """Return where classes come from, in words for the user.

    Args:
        rule: The decision.
        origins: The origins of the source's own labels.
        metadata: The labels in metadata files.
        folders: Whether images outside all folders of metadata files have the classes of their folders.
    """
    match rule:
        case LabelRule.OWN:
            return origins.of_labels()
        case LabelRule.METADATA:
            return " and ".join([*(["folder names"] if folders else []), *metadata.files[:3]])
        case LabelRule.FOLDER:
            return "folder names"
        case LabelRule.FILE_NAME:
            return "file names"
        case LabelRule.NONE:
            return ""


def refusal(chosen: str, ruling: Ruling, classes: Classes) -> InputError:
    """Return the error of a choice by the user that gives no classes.

    Args:
        chosen: The choice.
        ruling: The decision that it led to.
        classes: The classes found.
    """
    if ruling.note:
        cause = ruling.note
    elif classes.unlabelled:
        cause = f"{classes.unlabelled:,} images have no class"
    else:
        found = classes.found
        cause = f"all images with a class have {min(found)[:24]}" if any(found) else "no image has a label"
    column = f", or {Term.LABELS}=column:NAME" if chosen == METADATA else ""
    remedy = f"set {Term.LABELS}=none to train without classes, or {Term.LABELS}=auto{column}"
    return InputError(f"{chosen} gives no classes: {cause}", item=Term.LABELS, remedy=remedy)
