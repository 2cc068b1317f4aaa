"""Listing a source: images found, split and labelled a second, before any is read.

`python benchmarks/listing.py [--images 200000] [--against CHECKOUT]`: a folder of two splits and ten classes. With
another checkout of this project, each lists the same folder in a process of its own, in turn.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.listing.listing import listed

ROUNDS = 5


def written(folder: Path, images: int) -> None:
    """Write so many empty files of images; a listing reads none."""
    for split, share in (("train", 0.9), ("test", 0.1)):
        for label in range(10):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(round(images * share / 10)):
                (place / f"{number:06d}.jpg").touch()


def rate(folder: str) -> float:
    """List a folder once; return images a second."""
    started = time.perf_counter()
    with listed(FolderSource(FileSet((folder,)))) as listing:
        return listing.count / (time.perf_counter() - started)


def rate_of(checkout: Path, folder: str) -> float:
    """List a folder in a process with the code of a checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), "--folder", folder]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(checkout)}, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    """Print the rates, and with another checkout their ratio in each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--folder", help="list this folder once and print the rate alone")
    given = parser.parse_args()
    if given.folder:
        print(rate(given.folder))
        return
    own = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), given.images)
        ratios = []
        for number in range(ROUNDS):
            places = [own, given.against or own]
            rates = [rate_of(place, folder) for place in (places if number % 2 else reversed(places))]
            ours, theirs = rates if number % 2 else reversed(rates)
            ratios.append(ours / theirs)
            print(f"here {ours:,.0f}/s, there {theirs:,.0f}/s, ratio {ratios[-1]:.3f}", flush=True)
        print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
