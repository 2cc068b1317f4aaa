"""Stub distributions: packages that are installed in name and version alone."""

from collections.abc import Sequence
from pathlib import Path


def install(site: Path, name: str, version: str, *, requires: Sequence[str] = (), python: str = "") -> None:
    """Put the metadata of a distribution into a folder of the path."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Requires-Python: {python}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
