"""Random access to the images of a sealed data set, with a bounded number of them in memory."""

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from infra.outputs.images import DatasetReader, ImageFile, Images

_Rows = tuple[Images, NDArray[np.int32]]


class RowReader:
    """Reads the images of a split by number.

    A file is read whole and verified on first use. Later its row groups are read one by one on demand, with the
    verified footer. The least recently used row group is dropped to make room.

    Args:
        reader: The reader of a sealed data set.
        split: The split to read.
        images_in_memory: Largest number of images to keep in memory; at least one row group is kept.
        by_file: Read a file whole, in one request, each time; for callers that soon need all of a file once they need
            some of it.

    Attributes:
        images_held: Number of images now in memory.
    """

    def __init__(self, reader: DatasetReader, split: str, images_in_memory: int, *, by_file: bool = False) -> None:
        self._reader, self._limit, self._by_file = reader, images_in_memory, by_file
        self._units = reader.units(split)
        self._ends = np.cumsum([unit["rows"] for unit in self._units])
        self._footers: dict[int, bytes] = {}
        self._starts: dict[int, NDArray[np.int64]] = {}
        self._held: OrderedDict[tuple[int, int], _Rows] = OrderedDict()
        self.images_held = 0

    def __call__(self, numbers: NDArray[np.int64]) -> _Rows:
        """Return the images [n, c, h, w] and labels [n] with these numbers, 0..size-1.

        Raises:
            IndexError: If there are no numbers, or one is out of range.
            IntegrityError: If a file differs from what was sealed.
        """
        if not len(numbers):
            raise IndexError("got no image numbers")
        if not (numbers.min() >= 0 and numbers.max() < self._ends[-1]):
            raise IndexError(f"image numbers must lie in 0..{self._ends[-1] - 1}; got {numbers.min()}..{numbers.max()}")
        images: Images | None = None
        labels = np.empty(len(numbers), dtype=np.int32)
        files = np.searchsorted(self._ends, numbers, side="right")
        for file in np.unique(files).tolist():
            positions = np.flatnonzero(files == file)
            rows = numbers[positions] - (self._ends[file] - self._units[file]["rows"])
            for places, group_images, group_labels in self._find(file, rows):
                if images is None:
                    images = np.empty((len(numbers), *group_images.shape[1:]), dtype=np.uint8)
                images[positions[places]], labels[positions[places]] = group_images, group_labels
        assert images is not None, "there is at least one number"
        return images, labels

    def _find(
        self, file: int, rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Images, NDArray[np.int32]]]:
        """Yield, per row group that holds some of `rows`, their places in `rows`, their images and labels."""
        opened = None if file in self._starts else self._load(file)
        starts = self._starts[file]
        groups = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(groups).tolist():
            if (file, group) in self._held:
                self._held.move_to_end((file, group))
            else:
                opened = opened or (self._load(file) if self._by_file else self._open(file))
                if (file, group) not in self._held:
                    self._hold(file, group, opened)
            images, labels = self._held[file, group]
            places = np.flatnonzero(groups == group)
            chosen = rows[places] - starts[group]
            yield places, images[chosen], labels[chosen]

    def _open(self, file: int) -> ImageFile:
        return self._reader.open_unit(self._units[file], footer=self._footers[file])

    def _load(self, file: int) -> ImageFile:
        """Read a file whole; keep its row groups if there is room, so that they need not be read again."""
        opened = self._reader.open_unit(self._units[file])
        if file not in self._starts:
            self._starts[file] = opened.starts
            self._footers[file] = b"" if self._by_file else opened.footer()
        if opened.rows <= self._limit:
            for group in range(len(opened.starts)):
                if (file, group) not in self._held:
                    self._hold(file, group, opened)
        return opened

    def _hold(self, file: int, group: int, opened: ImageFile) -> None:
        rows = self._reader.read_groups(self._units[file], opened, [group])
        while self._held and self.images_held + len(rows[1]) > self._limit:
            _, (_, dropped) = self._held.popitem(last=False)
            self.images_held -= len(dropped)
        self._held[file, group] = rows
        self.images_held += len(rows[1])
