"""Files of labels beside files of images: which belong together, by the words of their names and by their lengths."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from infra.errors import InputError, Term
from infra.sources.files.file import File
from infra.sources.formats.array_names import ArrayName


@dataclass(frozen=True)
class LabelFile:
    """A file of labels.

    Attributes:
        file: The file.
        path: Its path.
        name: The words of its name.
        count: The number of its labels; None if that cannot be read.
    """

    file: File
    path: str
    name: ArrayName
    count: int | None


class LabelFiles:
    """The files of labels of a source. Add all of them, and count the files of images, before asking for any."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, tuple[str, ...]], list[LabelFile]] = defaultdict(list)
        self._images: dict[str, int] = defaultdict(int)
        self._counts: dict[str, set[int]] = defaultdict(set)
        self._used: set[str] = set()

    def add(self, label_file: LabelFile) -> None:
        """Add a file of labels."""
        self._files[folder_of(label_file.file), label_file.name.words].append(label_file)

    def add_images(self, file: File) -> None:
        """Count a file of images."""
        self._images[folder_of(file)] += 1

    @property
    def names(self) -> set[str]:
        """The names of the files of labels."""
        return {one.file.name for some in self._files.values() for one in some}

    def of(self, images: File, name: ArrayName, count: int) -> File | None:
        """Return the file of the labels of some images; None if there is none.

        A file that is called just labels or y has those of the only images beside it. If no length fits, the file is
        returned for its reader to refuse, unless it may hold the names of the classes.

        Args:
            images: The file of the images.
            name: The words of its name.
            count: The number of the images.

        Raises:
            InputError: If two files fit.
        """
        folder = folder_of(images)
        self._counts[folder].add(count)
        levels = name.all_words, name.words, *([()] if self._images[folder] == 1 else [])
        candidates = [sorted(self._files.get((folder, words), ()), key=_may_name_classes) for words in levels]
        fitting = [[one for one in some if one.count == count] for some in candidates]
        doubtful = [[one for one in some if not _may_name_classes(one)][:1] for some in candidates]
        chosen = next((some for some in [*fitting, *doubtful] if some), [])
        if len(chosen) > 1 and chosen[0].file != chosen[1].file and not _may_name_classes(chosen[1]):
            remedy = f"remove or rename one, or set {Term.LABELS}=none to train without classes"
            raise InputError("is a second file of the same labels", item=chosen[1].path, remedy=remedy)
        self._used.update(one.file.name for one in chosen[:1])
        return chosen[0].file if chosen else None

    def rest(self) -> Iterator[File]:
        """Return the files that label no images; call it after all images asked for theirs.

        Raises:
            InputError: If one of them has as many labels as there are images beside it.
        """
        unused = [one for some in self._files.values() for one in some if one.file.name not in self._used]
        for one in sorted(unused, key=lambda one: one.file.name):
            if one.count in self._counts[folder_of(one.file)] and not _may_name_classes(one):
                cause = "labels no images: no file of images has its name"
                remedy = "remove it, or rename it: y_train.npy beside x_train.npy; "
                remedy += f"or set {Term.LABELS}=none to train without classes"
                raise InputError(cause, item=one.path, remedy=remedy)
            yield one.file


def _may_name_classes(one: LabelFile) -> bool:
    return one.name.may_name_classes


def folder_of(file: File) -> str:
    """Return the folders of a file."""
    return file.name.rpartition("/")[0]
