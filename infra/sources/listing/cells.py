"""The table of all splits and classes: the held-out split, and classes in folders of their own (rules 5 to 7)."""

from collections.abc import Iterable, Mapping

from infra.sources.listing.folders import VALIDATION, common_folders, path_parts, word_for_split

# A cell of the table of all splits and classes: an image's split and class, either of which may be empty.
Cell = tuple[str, str]


def settled(counts: Mapping[Cell, int], *, from_folders: bool) -> dict[Cell, Cell]:
    """Apply rules 5 to 7, which need to know all cells.

    Args:
        counts: Images by the cell that the placing gave them.
        from_folders: Whether the classes are folders; labels of the source's own stay as they are.

    Returns:
        For each cell, the final one.
    """
    held_out = held_out_split(counts)
    train_classes, held_out_classes = _classes(counts, "train"), _classes(counts, held_out)
    wrappers = {}
    if from_folders and _wrappers_hide_classes(train_classes, held_out_classes):
        wrappers = {"train": len(_wrapper(train_classes)), held_out: len(_wrapper(held_out_classes))}
    return {
        (split, label): (_final_split(split, held_out), _unwrapped(label, wrappers.get(split, 0)))
        for split, label in counts
    }


def held_out_split(counts: Iterable[Cell]) -> str:
    """Rule 5: test or val."""
    cells = list(counts)
    splits = {split for split, _ in cells}
    if VALIDATION not in splits:
        return "test"
    if "test" not in splits:
        return VALIDATION
    only_test_lacks_classes = _classes(cells, "train") and _classes(cells, VALIDATION) and not _classes(cells, "test")
    return VALIDATION if only_test_lacks_classes else "test"


def _final_split(split: str, held_out: str) -> str:
    """Rule 6: `train`, `test` or nothing."""
    if split == held_out:
        return "test"
    return "train" if split == "train" else ""


def _wrappers_hide_classes(train: set[str], held_out: set[str]) -> bool:
    """Rule 7: whether the folders around the classes of each split have to go."""
    if train & held_out:
        return False
    one, other = _wrapper(train), _wrapper(held_out)
    in_common = {_unwrapped(label, len(one)) for label in train} & {_unwrapped(label, len(other)) for label in held_out}
    if not in_common:
        return False
    if not one or not other:
        return True
    return all(word_for_split(folder) for folder in [*one, *other])


def _wrapper(labels: set[str]) -> list[str]:
    """The folders around all of these classes; the deepest class keeps a folder as its name."""
    paths = [path_parts(label) for label in labels]
    if not paths:
        return []
    common = paths[0]
    for path in paths:
        common = common_folders(common, path)
    deepest = max(len(path) for path in paths)
    return common[: deepest - 1]


def _unwrapped(label: str, folders: int) -> str:
    """A class without its outermost folders."""
    return "/".join(path_parts(label)[folders:])


def _classes(cells: Iterable[Cell], split: str) -> set[str]:
    return {label for of, label in cells if of == split and label}
