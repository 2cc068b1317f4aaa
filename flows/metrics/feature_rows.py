"""Reading sealed features: all of them one part after the other, or some rows; never all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from infra.features.extractor import FEATURES
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.tensors import decode_tensors
from infra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """The rows of one layer of a sealed output of features; row i belongs to image i.

    Attributes:
        manifest: Of the output.
        store: Where it is.
        layer: Of the extractor.
    """

    manifest: Manifest
    store: Store
    layer: str = FEATURES

    @property
    def starts(self) -> Sequence[int]:
        """The number of the first row of each unit, and behind them the number of all rows."""
        return [0, *accumulate(self.sizes)]

    @property
    def sizes(self) -> list[int]:
        """The number of rows of each unit."""
        return [int(unit["rows"]) for unit in self.manifest.units]

    @cached_property
    def dimensions(self) -> int:
        """The number of dimensions, for which the first unit is read."""
        return self._unit(0).shape[1]

    @property
    def count(self) -> int:
        """The number of rows."""
        return self.starts[-1]

    def parts(self) -> Iterator[Tensor]:
        """Yield all rows in their order as float32 [n, d], a unit at a time.

        Raises:
            IntegrityError: If a file differs from what was sealed.
        """
        for unit in range(len(self.manifest.units)):
            yield self._unit(unit)

    def take(self, rows: Tensor) -> Tensor:
        """Return the rows with these numbers, int64 [n] in 0..count-1, as float32 [n, d] in this order.

        Each unit that holds some of them is read once.

        Raises:
            IndexError: If there are no numbers, or one is out of range.
            IntegrityError: If a file differs from what was sealed.
        """
        if not len(rows) or int(rows.min()) < 0 or int(rows.max()) >= self.count:
            raise IndexError(f"row numbers must lie in 0..{self.count - 1}, and there must be some")
        starts = torch.tensor(self.starts)
        units = torch.searchsorted(starts, rows, right=True) - 1
        taken: Tensor | None = None
        for unit in units.unique().tolist():
            part, places = self._unit(unit), (units == unit).nonzero()[:, 0]
            if taken is None:
                taken = torch.empty(len(rows), part.shape[1])
            taken[places] = part[rows[places] - starts[unit]]
        assert taken is not None, "there is at least one number"
        return taken

    def _unit(self, number: int) -> Tensor:
        unit = self.manifest.units[number]
        return decode_tensors(read_verified(self.store, self.manifest.folder, unit), unit["file"])[0][self.layer]
