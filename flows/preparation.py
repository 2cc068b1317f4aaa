"""The units of the preparation. A worker that runs them loads no torch, which takes seconds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from infra.dataset import Images, encode_images
from infra.plan import Output
from infra.sources.source import FIT_RULE, Item, Source, fit


@dataclass(frozen=True, kw_only=True)
class Part:
    """One unit: consecutive images of one split."""

    split: str
    first_id: int
    items: list[Item]


@dataclass(frozen=True, kw_only=True)
class PrepareTask:
    """Decodes, fits and commits one part at a time."""

    output: Output
    source: Source
    parts: list[Part]
    image_size: int
    channels: int

    def open(self) -> Callable[[int], None]:
        """Return the function that commits one part."""
        read = self.source.reader()

        def run(unit: int) -> None:
            part = self.parts[unit]
            images = np.stack(
                [fit(read(item), channels=self.channels, size=self.image_size, name=item.name) for item in part.items]
            )
            self.output.commit(f"units/{unit:06d}", "parquet", self._encode(images, part), _facts(images, part))

        return run

    def _encode(self, images: Images, part: Part) -> bytes:
        columns = {
            "label": pa.array([item.label for item in part.items], type=pa.int32()),
            "split": pa.array([part.split] * len(part.items)),
            "name": pa.array([item.name for item in part.items]),
            "sha256": pa.array([item.digest for item in part.items]),
        }
        return encode_images(images, part.first_id, columns, {"fit": FIT_RULE})


def _facts(images: Images, part: Part) -> dict[str, object]:
    occurs = np.bincount(images.ravel(), minlength=256) > 0
    return {
        "first_id": part.first_id,
        "split": part.split,
        "rows": len(images),
        "levels": np.packbits(occurs).tobytes().hex(),
    }
