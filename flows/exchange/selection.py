"""The images that an export writes, batch by batch, with rows, columns and channels in the order of image files."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.exchange.choices import Channels, ExportSplit
from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.images import DatasetReader, Images

# More images have longer names, so that the names' order stays that of the images.
_LEAST_DIGITS = 6


class Batch(NamedTuple):
    """Consecutive images.

    Attributes:
        first: The number of the first image.
        images: uint8 [n, h, w, c] in 0..255, contiguous.
        labels: int32 [n]; -1 without a label.
    """

    first: int
    images: Images
    labels: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Some images of a sealed output.

    Attributes:
        reader: The sealed output.
        split: The split in it.
        limit: Only the first so many, at least 1; None for all.
        channels: Whether grey images get three channels.
        class_names: The names of the classes, indexed by label; empty if they are not known.
    """

    reader: DatasetReader
    split: ExportSplit
    limit: int | None = None
    channels: Channels = Channels.AS_IS
    class_names: tuple[str, ...] = ()

    @cached_property
    def count(self) -> int:
        """The number of images."""
        rows = sum(unit["rows"] for unit in self.reader.units(self.split))
        return rows if self.limit is None else min(rows, self.limit)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of each image."""
        height, width, channels = self._first.images.shape[1:]
        return height, width, channels

    @cached_property
    def labelled(self) -> bool:
        """True if images have labels; of all images of an output only held-out ones may lack one beside others."""
        counts = self.reader.manifest.facts.get("classes", {}).get(self.split, {})
        return int(self._first.labels[0]) >= 0 or any(counts.values())

    @cached_property
    def identity(self) -> Json:
        """Everything that the exported pixels and labels depend on."""
        return {
            "output": self.reader.manifest.folder,
            "digest": self.reader.manifest.digest,
            "split": str(self.split),
            "images": self.count,
            "channels": self.shape[2],
        }

    def name(self, number: int) -> str:
        """Return the name of an image's file, without its suffix."""
        return f"{number:0{max(_LEAST_DIGITS, len(str(self.count - 1)))}d}"

    def batches(self) -> Iterator[Batch]:
        """Read the images; one file of the output and one of its row groups are in memory at a time.

        Raises:
            IntegrityError: If there are none, or a file is missing or differs from what was sealed.
        """
        first = 0
        for unit in self.reader.units(self.split):
            file, of_unit = self.reader.open_unit(unit), 0
            for group in range(len(file.starts)):
                images, labels = self.reader.read_groups(unit, file, [group])
                rows = min(len(labels), unit["rows"] - of_unit, self.count - first)
                if rows <= 0:
                    break
                yield Batch(first, self._oriented(images[:rows]), labels[:rows])
                first, of_unit = first + rows, of_unit + rows
            if first >= self.count:
                break
        if first < max(self.count, 1):
            cause = f"holds {first} of {self.count} images of split {str(self.split)!r}"
            raise IntegrityError(cause, item=self.reader.manifest.folder)

    @cached_property
    def _first(self) -> Batch:
        return next(self.batches())

    def _oriented(self, images: Images) -> Images:
        images = images.transpose(0, 2, 3, 1)
        if self.channels is Channels.RGB and images.shape[3] == 1:
            images = images.repeat(3, axis=3)
        elif self.channels is Channels.RGB and images.shape[3] == 4:
            opacity = images[..., 3:].astype(np.uint32)
            images = ((images[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
        return np.ascontiguousarray(images)
