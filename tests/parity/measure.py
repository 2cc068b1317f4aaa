"""Measure the same images with every program: `python -m tests.parity.measure`, which `make parity` runs.

It makes the environment of the other programs in `.parity/`, writes images and weights there, runs each program and
writes `tests/parity/figures.json`. The tests compare ours with that file and need none of the programs.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from infra.features.statistics_file import StatisticsFile, decode_statistics, encode_statistics
from tests.parity import environment, figures, images, weights
from tests.parity.figures import Figure
from tests.parity.ours import Ours
from tests.parity.rules import HALF_PIXELS

TOP = Path(__file__).parent.parent.parent
PROGRAMS = {
    "torch-fidelity": "run_torch_fidelity.py",
    "pytorch-fid": "run_pytorch_fid.py",
    "clean-fid": "run_clean_fid.py",
    "prdc": "run_prdc.py",
}
# The name under which pytorch-fid and clean-fid look for weights that they downloaded before.
_DOWNLOADED = "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth"
_LAST_LINES = 12


def main() -> int:
    """Run every program and ours, write the figures, and return how many differ."""
    python = environment.make(TOP / ".parity" / "venv")
    work = TOP / ".parity" / "work"
    shutil.rmtree(work, ignore_errors=True)
    collections, tensors = images.collections(), weights.parity_weights()
    for name, sides in collections.items():
        images.write(sides, work / "images" / name)
    (work / _DOWNLOADED).parent.mkdir(parents=True)
    torch.save(weights.with_counters(tensors), work / _DOWNLOADED)
    (work / "weights.pth").symlink_to(_DOWNLOADED)
    ours = Ours()
    (work / "ours.npz").write_bytes(encode_statistics(_statistics(ours, "reference")))
    theirs = [figure for program in PROGRAMS for figure in _run(python, program, work)]
    found = [replace(figure, ours=ours.figure(figure)) for figure in theirs]
    found.append(_with_their_statistics(found, ours, work / "theirs.npz"))
    for figure in found:
        same = "equal" if figures.equal(figure.ours, figure.value) else "DIFFERS"
        _say(f"{figure.name:45} {figure.value:12.8g}   ours {figure.ours:12.8g}   {same}")
    digests = {name: images.digest(sides) for name, sides in collections.items()}
    figures.write(weights.digest(tensors), digests, found)
    return sum(not figures.equal(figure.ours, figure.value) for figure in found)


def _statistics(ours: Ours, side: str) -> StatisticsFile:
    """Return ours of one side, by pytorch-fid's rule."""
    features = ours.features("small", side, HALF_PIXELS)
    stats = FeatureStats.empty(features.shape[1]).update(features)
    return StatisticsFile(mean=stats.mean, covariance=stats.covariance)


def _with_their_statistics(found: list[Figure], ours: Ours, file: Path) -> Figure:
    """Return pytorch-fid's figure beside ours between our samples and the statistics that it wrote."""
    (plain,) = (figure for figure in found if figure.name == "pytorch-fid-small-fid")
    sides = (_statistics(ours, "samples"), decode_statistics(file.read_bytes(), str(file)))
    value = frechet_distance(*(FeatureStats.of_moments(2, side.mean, side.covariance) for side in sides))
    return replace(plain, metric="fid_with_their_statistics", call="pytorch_fid.fid_score.save_fid_stats", ours=value)


def _run(python: Path, program: str, work: Path) -> Iterator[Figure]:
    """Run one program and yield its figures."""
    started = time.monotonic()
    path = Path(__file__).parent / "programs" / PROGRAMS[program]
    done = subprocess.run(
        [str(python), str(path), str(work)],
        env=os.environ | {"TORCH_HOME": str(work)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            "\n".join([*done.stdout.splitlines()[-_LAST_LINES:], f"parity: {program}: failed with the lines above"])
        )
    found = json.loads((work / f"{program}.json").read_text())
    version, released = environment.pins()[program]
    _say(f"parity    {program} {version}: {len(found)} figures, {time.monotonic() - started:.0f} s")
    command = f".parity/venv/bin/python tests/parity/programs/{path.name} .parity/work"
    for entry in found:
        yield Figure(program=program, version=version, released=released, command=command, **entry)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(min(main(), 1))
