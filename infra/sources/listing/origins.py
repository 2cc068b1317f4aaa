"""The origin of labels and splits, in words for the user: "column label", "folders train and val2017"."""

from collections.abc import Sequence

from infra.sources.source import Entry

_MOST_NAMED = 3
_LONGEST_FOLDER = 24
_FILE_NAMES = "file names"


class Origins:
    """Collects the origins of labels and splits; of all entries with the same origin only the first takes memory."""

    def __init__(self) -> None:
        self._labels: dict[str, None] = {}
        self._splits: dict[str, dict[str, None]] = {}
        self._folders: dict[str, str] = {}

    def add_found(self, entry: Entry) -> None:
        """Note the split and label that an entry's source itself gives."""
        if entry.label and entry.label_from:
            _keep(self._labels, entry.label_from)
        if entry.split and entry.split_from:
            _keep(self._splits.setdefault(entry.split, {}), entry.split_from)

    def add_named(self, split: str, folder: str) -> None:
        """Note a split that a name gives: that of a folder, or of a file if no folder is given."""
        if folder:
            self._folders.setdefault(split, folder)
        else:
            self._splits.setdefault(split, {}).setdefault(_FILE_NAMES)

    def add_table(self, split: str, tables: str) -> None:
        """Note a split that tables give."""
        self._splits.setdefault(split, {}).setdefault(tables)

    def of_labels(self) -> str:
        """Return the origin of the labels that the source itself gives."""
        return _joined(list(self._labels))

    def of_splits(self, splits: Sequence[str]) -> str:
        """Return the origin of these splits."""
        folders = [self._folders[split][:_LONGEST_FOLDER] for split in splits if split in self._folders]
        origins = [f"folder{'s' if len(folders) > 1 else ''} {_joined(folders)}"] if folders else []
        others = dict.fromkeys(origin for split in splits for origin in self._splits.get(split, ()))
        return _joined([*origins, *others])


def _keep(origins: dict[str, None], origin: str) -> None:
    """Keep the first origins, and one more to tell that there are more."""
    if len(origins) <= _MOST_NAMED:
        origins.setdefault(origin)


def _joined(words: list[str]) -> str:
    return " and ".join(words[:_MOST_NAMED]) + (" and more" if len(words) > _MOST_NAMED else "")
