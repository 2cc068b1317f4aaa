"""The program of `make gpu` by toys on the processor: the figures of a real GPU need one."""

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import run
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.flops import count
from benchmarks.gpu.setting import BFLOAT16, TF32, Setting, flags_of
from benchmarks.gpu.syncs import questions
from benchmarks.gpu.table import as_table
from benchmarks.gpu.training import Training
from benchmarks.gpu.unasked import unasked
from ddpm_core.network.convolution import Conv3x3

TOP = Path(__file__).parents[2]
TOY = Setting(device=torch.device("cpu"), toy=True)
# torch's own packages and those that it requires.
OF_TORCH = (
    "torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock",
    "typing_extensions.py",
)  # fmt: skip
# Traces, networks of full size, and many steps.
SLOW = ("repeatable", "parts", "profile", "beside", "compiled, bfloat16", "compiled, float32")
FAST = tuple(name for name in run.SECTIONS if name not in SLOW)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "gpu.jsonl").read_text().splitlines()]


def bench(folder: Path, seconds: float = 60) -> Bench:
    return Bench(setting=TOY, folder=folder, deadline_s=time.monotonic() + seconds)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python that finds torch and what torch needs, beside our own code, and nothing else."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in OF_TORCH:
        (folder / name).symlink_to(Path(torch.__file__).parents[1] / name)
    return {"PYTHONPATH": f"{folder}:{TOP}", "PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def program(
    folder: Path, names: tuple[str, ...], *, options: tuple[str, ...] = (), **more: Any
) -> list[dict[str, Any]]:
    """Run sections as `make gpu` does; return their rows."""
    command = [sys.executable, *options, "-m", "benchmarks.gpu.bare", "--device", "cpu", "--out", str(folder)]
    done = subprocess.run([*command, "--only", *names], cwd=TOP, capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO MEASUREMENT" in done.stdout
    return rows(folder)


def test_the_bare_python_is_bare(bare: dict[str, str]) -> None:
    tried = "import torch\nfor name in ('jaxtyping', 'numpy', 'ray', 'pyarrow', 'pydantic'):\n" + (
        "    try: __import__(name)\n    except ModuleNotFoundError: print(name, 'is missing')"
    )
    done = subprocess.run([sys.executable, "-S", "-c", tried], env=bare, cwd="/", capture_output=True, text=True)
    assert done.stdout.count("is missing") == 5, done.stdout + done.stderr


def test_the_tests_of_a_gpu_need_torch_and_pytest_alone(bare: dict[str, str], tmp_path: Path) -> None:
    for name in ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "packaging", "pygments"):
        (tmp_path / "packages" / name).symlink_to(Path(pytest.__file__).parents[1] / name)
    options = ["-c", "tests/gpu/pytest.ini", "--confcutdir=tests/gpu", "-k", "words or copy or schedule or bound"]
    command = [sys.executable, "-S", "-m", "pytest", "tests/gpu", *options]
    done = subprocess.run(command, env=bare | {"DDPM_GPU_TESTS_DEVICE": "cpu"}, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("names", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["fast", "slow"])
def test_every_section_writes_its_rows_and_none_counts_as_a_measurement(
    tmp_path: Path, bare: dict[str, str], names: tuple[str, ...]
) -> None:
    """The fast sections by torch alone; diffusers is beside our network only if it is there."""
    found = program(tmp_path, names, options=("-S",), env=bare) if names == FAST else program(tmp_path, names)
    assert tuple(dict.fromkeys(row["section"] for row in found)) == names
    assert not any(row["measurement"] for row in found)
    assert not [row for row in found if "failed" in row or "left out: the time" in row.get("note", "")]
    assert (tmp_path / "gpu.md").read_text().startswith("# No measurement")


def test_a_failing_section_leaves_the_others_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> None:
        raise RuntimeError("the card is on fire")

    sections = {"broken": (1.0, broken), "flops": run.SECTIONS["flops"]}
    monkeypatch.setattr(run, "SECTIONS", sections)
    assert run.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    first, *rest = rows(tmp_path)
    assert first["failed"] == "RuntimeError: the card is on fire"
    assert [row["section"] for row in rest] == ["flops", "flops"]
    assert "in broken" in (tmp_path / "gpu-errors.txt").read_text()


def test_a_failing_row_leaves_the_rows_after_it(tmp_path: Path) -> None:
    def section(own: Bench) -> None:
        own.attempt("bad", lambda: {"ms": 1 / 0})
        own.attempt("good", lambda: {"ms": 1.0})

    own = bench(tmp_path)
    own.run("two", 1, section)
    assert own.failed == 1
    assert [row.get("ms") for row in own.rows] == [None, 1.0]


def test_a_section_beyond_the_budget_is_left_out_with_a_line(tmp_path: Path) -> None:
    ran: list[Bench] = []
    own = bench(tmp_path, seconds=5)
    own.run("long", 60, ran.append)
    assert not ran
    assert own.rows[0]["note"].startswith("left out: about 60 s needed")


def test_flags_are_given_back_after_a_section(tmp_path: Path) -> None:
    def section(_: Bench) -> None:
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True)
        raise ValueError

    torch.backends.cudnn.allow_tf32 = True
    bench(tmp_path).run("flags", 1, section)
    assert torch.backends.cudnn.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_precision_sets_both_flags_for_a_while() -> None:
    with flags_of(TF32):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_convolution_counts_two_operations_for_each_weight_of_each_pixel() -> None:
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        Conv3x3(5, 7)(torch.randn(2, 5, 6, 6))
    assert counted.get_total_flops() == 2 * (2 * 6 * 6) * (5 * 7 * 3 * 3)


def test_the_operations_of_the_network_are_those_of_its_layers() -> None:
    forward, train = count(TOY.config)
    base, size = TOY.config.base_channels, TOY.config.image_size
    doubled, _ = count(replace(TOY.config, in_channels=2 * TOY.config.in_channels))
    # Only the first and the last convolution see the images' channels: 3 more of them on each side.
    assert doubled - forward == 2 * 2 * size**2 * (3 * base * 9)
    # The gradients by weights and by inputs cost as much as the pass itself, each; images need none.
    assert 2.9 < train / forward < 3


def test_every_read_of_a_value_is_found_with_its_line() -> None:
    training = Training(TOY, 2, BFLOAT16)
    found = questions(TOY, training.step)
    assert any(place.startswith("ddpm_core/train_step.py") and "isfinite" in place for place in found)
    with unasked():
        found = questions(TOY, training.step)
    assert not any(place.startswith("ddpm_core/train_step.py") for place in found)


def test_a_read_is_found_in_inference_mode_too() -> None:
    @torch.inference_mode()
    def call() -> float:
        return float(torch.ones(2).sum())

    assert list(questions(TOY, call).values()) == [1]


def test_what_is_wanted_from_the_first_hour_is_among_the_rows(tmp_path: Path) -> None:
    found = program(tmp_path, ("ceilings", "flops", "train", "sample", "bound", "features"))
    what = {section: " ".join(row["what"] for row in found if row["section"] == section) for section in run.SECTIONS}
    for section in ("ceilings", "train", "sample"):
        for precision in ("float32", "TF32", "bfloat16", "float16"):
            assert precision in what[section], section
    assert {"float32", "TF32"} <= set(what["bound"].replace(",", "").split())
    for section in ("train", "sample", "bound"):
        rated = [row for row in found if row["section"] == section]
        assert all({"tflop_per_s", "share_of_ceiling"} <= set(row) for row in rated), section
    (inception,) = [row for row in found if row["what"] == "Inception, float32"]
    assert inception["images_per_s"] > 0
    assert {128, 512} <= set(Setting(device=torch.device("cuda"), toy=False).train_batches)


def test_waits_on_a_gpu_are_found_by_torchs_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def wait() -> None:
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    found = questions(Setting(device=torch.device("cuda"), toy=True), wait)
    assert list(found.values()) == [1]
    assert modes == ["warn", "default"]


def test_a_training_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    straight, half, resumed = (Training(TOY, 2, BFLOAT16) for _ in range(3))
    for training, steps in ((straight, 2), (half, 1)):
        for _ in range(steps):
            training.step()
    resumed.restore(half.state())
    resumed.step()
    pairs = zip(straight.ema.parameters(), resumed.ema.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert resumed.seen == straight.seen == 4


def test_a_table_has_the_columns_of_all_rows_of_its_section() -> None:
    found = as_table([{"section": "s", "what": "a", "ms": 1.23456}, {"section": "s", "what": "b", "note": "c|d"}], True)
    assert "| s | ms | note |" in found
    assert "| a | 1.235 |  |" in found
    assert "| b |  | c/d |" in found
