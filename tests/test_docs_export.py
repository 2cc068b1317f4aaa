"""docs/export.md: its commands run as written, and its names and rules are those of the code."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_core.images import to_uint8
from flows.cli import run_command
from flows.exchange.choices import NETWORKS, ExportFormat, default_channels
from flows.exchange.partial import partial_place
from flows.exchange.png_folder import IDENTITY, LABELS
from flows.run_record import RunRecord
from tests.conftest import TinyRun

PAGE = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
COMMANDS = re.findall(r"^(ddpm export .*?)(?: {2,}.*)?$", PAGE, re.MULTILINE)


@pytest.fixture
def run(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyRun:
    """A finished run where the command line looks for it, and an empty working folder."""
    RunRecord(name="digits-1a2b3c4d", finished=tiny_run.finished).write(tiny_run.store)
    monkeypatch.setenv("DDPM_ROOT", str(tiny_run.root))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tiny_run


def test_the_commands_run_as_written(run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) >= 7
    (snapshot,) = run.root.glob("train/*/snapshots/*.safetensors")
    for line in COMMANDS:
        words = shlex.split(line.replace("ddpm-runs/train/KEY/snapshots/FILE.safetensors", str(snapshot)))[1:]
        assert run_command(words) == 0
        assert capsys.readouterr().out.startswith(f"{words[2]}  ")
        assert Path(words[2]).exists()
    with np.load("samples.npz") as samples, np.load("reference.npz") as reference:
        assert len(samples["arr_0"]) == run.samples.count
        assert len(reference["arr_0"]) == run.dataset.train_images


def test_each_format_has_its_row_with_its_channels() -> None:
    rows = {row[0]: row for row in re.findall(r"^\| `(\w+)` \|.*\| `([\w-]+)` \|$", PAGE, re.MULTILINE)}
    assert rows == {to: (to, default_channels(to)) for to in ExportFormat if to not in NETWORKS}


def test_names_of_files() -> None:
    assert f"`{partial_place(Path('samples')).name}` for `samples`" in PAGE
    assert f"`{IDENTITY}` in the folder" in PAGE
    assert PAGE.count(f"`{LABELS}`") >= 2


def test_pixels_are_rounded_as_documented() -> None:
    """To the nearest, ties to even: unlike truncation and unlike rounding ties up, each with an example."""
    assert "(x + 1) · 127.5 to the nearest integer, ties to the even one" in PAGE
    values = torch.tensor([0.0, -0.5], dtype=torch.float64)
    assert ((values + 1) * 127.5).tolist() == [127.5, 63.75]
    assert to_uint8(values.reshape(1, 1, 1, 2)).flatten().tolist() == [128, 64]
    tie = next(x for x in (np.arange(0, 255, 2) + 0.5) / 127.5 - 1 if (x + 1) * 127.5 % 2 == 0.5)
    assert int(to_uint8(torch.tensor(tie).reshape(1, 1, 1, 1))) == int((tie + 1) * 127.5), "half-up would be one more"
