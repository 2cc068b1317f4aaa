"""The 1,797 handwritten digits, 8x8 grey, that come with scikit-learn."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.digests import sha256
from infra.errors import InputError, IntegrityError, Term
from infra.sources.decode import from_array
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Content, Entry, Other

# The data's pixels are counts of 0..16: 17 grey levels, spread over the 8-bit range.
_LARGEST_COUNT = 16
_SIDE = 8


@dataclass(frozen=True)
class DigitsSource:
    """The digits as images: pixels are round(count * 255 / 16), counts 0..16; the labels are the digits.

    Attributes:
        reading: The user's choices about reading them.
    """

    reading: Reading = BY_RULE

    def find(self) -> Iterator[Entry | Other]:
        """Find every image."""
        images, labels = _load()
        stamp = sha256(images.tobytes())
        for number, label in enumerate(labels):
            yield Entry(
                name=f"digits/{number:04d}",
                stamp=stamp,
                at=(number,),
                label=str(label) if self.reading.own_labels else "",
                label_from="scikit-learn",
            )

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their pixels."""
        images, _ = _load()
        if entries and sha256(images.tobytes()) != entries[0].stamp:
            raise IntegrityError("changed since they were listed", item="the digits", remedy="run again")
        for entry in entries:
            yield images[entry.at[0]].tobytes()

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image of these pixels."""
        return from_array(
            np.frombuffer(content, dtype=np.uint8).reshape(_SIDE, _SIDE), entry.name, self.reading.max_value
        )


def _load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    # The file is read directly because importing scikit-learn takes seconds, in every worker.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise InputError(
            "scikit-learn is not installed", item=f"{Term.SOURCE_KIND} digits", remedy="pip install scikit-learn"
        )
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(gzip.decompress(path.read_bytes()).decode("ascii").splitlines(), delimiter=",")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", item=str(path), remedy="reinstall scikit-learn") from error
    counts, labels = rows[:, :-1].reshape(-1, _SIDE, _SIDE), rows[:, -1]
    return np.rint(counts * (255 / _LARGEST_COUNT)).astype(np.uint8), labels.astype(np.int64)
