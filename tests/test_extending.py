"""docs/extending.md is true: its files and lines, in a copy of the project, run from the command line to the report."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_core.denoisers import gaussian_denoiser
from ddpm_core.samplers.chain import Chain
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.schedule import linear_schedule, respace
from infra.sources.kinds.digits import DigitsSource
from tests.tiny import TINY

TOP = Path(__file__).parent.parent
PAGE = (TOP / "docs/extending.md").read_text()
KINDS = ("sampler", "extractor", "metric", "source")


@dataclass
class Extension:
    """One section of the page.

    Attributes:
        file: The new file.
        text: Its text.
        changes: The other files, each with its diff.
        command: Settings of `ddpm run`.
    """

    file: str
    text: str
    changes: list[tuple[str, str]]
    command: list[str]

    @property
    def lines(self) -> list[str]:
        """The lines that are added elsewhere."""
        return [line[1:] for _, diff in self.changes for line in diff.splitlines() if line.startswith("+")]


def extension(kind: str) -> Extension:
    section = re.search(rf"^## An? {kind}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None, kind
    (file, text), *_ = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    changes = re.findall(r"`([\w/]+\.py)`[^`]*:\n\n```diff\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    (line,) = re.findall(r"^ddpm run .*$", section[1], re.MULTILINE)
    return Extension(file, text, changes, shlex.split(line)[3:])


def apply(diff: str, text: str) -> str:
    """Put the added lines of a diff behind the lines that stand before them."""
    for part in diff.split("@@\n"):
        lines = part.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if line.startswith(" "))
        added = "".join(f"{line[1:]}\n" for line in lines if line.startswith("+"))
        assert text.count(before) == 1, f"stands {text.count(before)} times in the file:\n{before}"
        text = text.replace(before, before + added)
    return text


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all four extensions."""
    copy = tmp_path_factory.mktemp("extended")
    for package in ("ddpm_core", "infra", "flows"):
        shutil.copytree(TOP / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / "pyproject.toml", copy)
    for kind in KINDS:
        found = extension(kind)
        assert not (copy / found.file).exists()
        (copy / found.file).write_text(found.text)
        for name, diff in found.changes:
            (copy / name).write_text(apply(diff, (copy / name).read_text()))
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_one_file_and_two_lines_beside_an_import(kind: str) -> None:
    found = extension(kind)
    imports = [line for line in found.lines if line.startswith("from ")]
    assert (len(found.lines) - len(imports), len(imports)) == (2, 1)
    row = re.search(rf"^\| an? {kind} \|.*$", PAGE, re.MULTILINE)
    assert row is not None
    assert all(f"1 in `{name}`" in row[0] for name, _ in found.changes)


def test_they_keep_the_rules_of_the_house(extended: Path) -> None:
    tools = Path(sys.executable).parent
    for command in (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["lint-imports", "--no-cache"]):
        done = subprocess.run(
            [tools / command[0], *command[1:]], cwd=extended, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_projects_own_tests_still_pass(extended: Path) -> None:
    """Those that go through all options; a new module has no test yet, which tests/test_architecture.py would say."""
    shutil.copytree(TOP / "tests", extended / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    files = (
        "tests/ddpm_core/test_choices.py",
        "tests/ddpm_core/samplers/test_table.py",
        "tests/flows/metrics/test_choices.py",
        "tests/flows/metrics/test_extractors.py",
        "tests/flows/metrics/test_table.py",
        "tests/flows/recipe/test_defaults.py",
        "tests/flows/recipe/test_settings.py",
        "tests/flows/stages/evaluate/test_metrics.py",
    )
    command = [sys.executable, "-m", "pytest", "-n0", "-q", *files]
    done = subprocess.run(command, cwd=extended, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


def test_they_run_from_the_command_line_to_the_report(extended: Path, tmp_path: Path) -> None:
    source = DigitsSource()
    entries = list(source.find())[:320]
    frames = [
        np.asarray(source.decode(entry, pixels)) for entry, pixels in zip(entries, source.read(entries), strict=True)
    ]
    (tmp_path / "strips").mkdir()
    for number in range(0, len(frames), 32):
        strip = np.concatenate(frames[number : number + 32], axis=1)
        Image.fromarray(strip).save(tmp_path / "strips" / f"{number:04d}.png")
    given = [part for kind in KINDS for part in extension(kind).command]
    # The tiny chain has 20 steps, fewer than the page's 100.
    settings = [
        setting.replace("PATH", str(tmp_path / "strips")).replace("num_steps=100", "num_steps=10")
        for setting in given
        if setting != "--set"
    ]
    size = ("prepare.image_size=8", "prepare.channels=1", "train.attention_resolutions=[4]", "train.num_res_blocks=1")
    tiny = [setting for setting in TINY if not setting.startswith(("evaluate.extractor", "sample.num_steps"))]
    options = [part for setting in (*tiny, *size, *settings) for part in ("--set", setting)]
    command = [
        sys.executable,
        "-c",
        "from flows.cli import main; main()",
        "run",
        "folder",
        "--in-process",
        "--root",
        str(tmp_path / "root"),
    ]
    done = subprocess.run([*command, *options], cwd=extended, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"prepare \d+ training and \d+ held-out images;", done.stdout), done.stdout
    (page,) = (tmp_path / "root" / "reports").glob("*/report.html")
    text = page.read_text()
    for figure in ("fd_spectrum", "mean_distance_spectrum", "bits/dim, fixed large"):
        assert figure in done.stdout, done.stdout
        assert f"<td>{figure}</td>" in text
    for setting in ('"sampler": "multistep"', '"extractor": "spectrum"', '"kind": "strips"'):
        assert setting.replace('"', "&#34;") in text


def test_the_sampler_of_the_page_is_of_second_order() -> None:
    """On a Gaussian, whose flow keeps the standardised value: twice the steps, a quarter of the error."""
    names: dict[str, Any] = {}
    exec(compile(extension("sampler").text, "extending.md", "exec"), names)
    schedule, mean, variance = linear_schedule(1000), 0.3, 0.25
    x_T = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = gaussian_denoiser(schedule.alphas_cumprod, mean, variance)

    def errors(num_steps: int) -> list[float]:
        few = respace(schedule, num_steps)
        scale = (few.alphas_cumprod * variance + 1 - few.alphas_cumprod).sqrt()
        standard = (x_T - few.alphas_cumprod[-1].sqrt() * mean) / scale[-1]
        last = few.alphas_cumprod[0].sqrt() * mean + scale[0] * standard
        eps = model(last, few.timesteps[torch.zeros(4, dtype=torch.int64)])
        exact = (last - (1 - few.alphas_cumprod[0]).sqrt() * eps) / few.alphas_cumprod[0].sqrt()
        chain = Chain(model=model, schedule=few, noise=torch.empty_like, clip_x_start=False)
        found = names["multistep_sample"](chain, x_T), ddim_sample(model, few, x_T, clip_x_start=False)
        return [float((samples - exact).abs().max()) for samples in found]

    (ours, ddim), (ours_twice, ddim_twice) = errors(100), errors(200)
    assert ours / ours_twice == pytest.approx(4, rel=0.1)
    assert ddim / ddim_twice == pytest.approx(2, rel=0.1)
    assert ours_twice < ddim_twice / 4
