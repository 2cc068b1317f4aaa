"""The figures of one program, as it leaves them in the working folder; it imports no package of ours."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path


class Report:
    """Collects figures and writes them to `WORK/PROGRAM.json`.

    Args:
        work: The working folder, with a folder `images/COLLECTION/SIDE` of PNG files for each side.
        program: The name of the package that is measured with.
    """

    def __init__(self, work: Path, program: str) -> None:
        self._path = work / f"{program}.json"
        self._images = work / "images"
        self._figures: list[dict[str, object]] = []

    def collections(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and the folder of each collection."""
        for folder in sorted(self._images.iterdir()):
            yield folder.name, folder

    def add(self, collection: str, metric: str, value: float, call: str, options: Mapping[str, object]) -> None:
        """Add a figure.

        Args:
            collection: Name of the images.
            metric: Name of the figure.
            value: The figure.
            call: The function that gave it.
            options: Its options that matter to the figure.
        """
        self._figures.append(
            {"collection": collection, "metric": metric, "value": float(value), "call": call, "options": dict(options)}
        )

    def write(self) -> None:
        """Write all figures."""
        self._path.write_text(json.dumps(self._figures))
