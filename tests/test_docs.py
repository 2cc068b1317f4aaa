"""Every command, path, setting and figure in the documentation is true."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from flows.cli import run_command
from flows.recipe.form import changed
from flows.recipe.presets import load_config

TOP = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ddpm_core/README.md", "docs/operations.md"]
README = (TOP / "README.md").read_text()
BLOCKS = [
    block
    for page in ("README.md", "docs/operations.md")
    for block in re.findall(r"^```(\w*)\n(.*?)^```", (TOP / page).read_text(), re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    line for kind, block in BLOCKS if not kind for line in block.splitlines() if re.match(r"(ddpm|make) ", line)
]


def words(line: str) -> list[str]:
    """A command without the explanation behind two spaces."""
    return shlex.split(re.split(r" {2,}", line)[0])


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, command, *rest = words(line)
    if program == "make":
        assert re.search(rf"^{command}:.*## ", (TOP / "Makefile").read_text(), re.MULTILINE)
        return
    assert run_command([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in rest if option.startswith("--"))
    settings = [rest[place + 1] for place, option in enumerate(rest) if option == "--set"]
    if settings:
        load_config(rest[0], None, settings)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


def test_the_example_config_is_one(tmp_path: Path) -> None:
    (example,) = [block for kind, block in BLOCKS if kind == "toml"]
    file = tmp_path / "small.toml"
    file.write_text(example)
    config = load_config("folder", file, ["prepare.source=PATH"])
    given = tomllib.loads(example)
    assert config.model_dump()["train"]["base_channels"] == given["train"]["base_channels"]


def test_the_example_program_imports() -> None:
    (example,) = [block for kind, block in BLOCKS if kind == "python"]
    for line in example.splitlines():
        if line.startswith("from "):
            exec(line, {})


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths(page: str) -> None:
    text = (TOP / page).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("http"):
            assert ((TOP / page).parent / target).exists(), target
    for path in re.findall(r"`((?:ddpm_core|infra|flows|tests|docs)/[\w./*]*)`", text):
        assert list(TOP.glob(path.rstrip("/"))), path


def test_the_table_is_that_of_the_measured_run() -> None:
    measured = json.loads((TOP / "docs" / "digits.json").read_text())
    table = re.search(r"<!-- table -->\n(.*?)<!-- end of table -->", README, re.DOTALL)
    assert table
    assert table[1].strip() == render(measured).strip()


def render(measured: dict[str, object]) -> str:
    """The README's table, from what a run of `make demo` printed and where."""
    metrics = measured["metrics"]
    assert isinstance(metrics, dict)
    rows = [("measured by `make demo`", f"on {measured['machine']}")]
    rows += [("---", "---")]
    rows += [
        ("Fréchet distance `fd_classifier`, 512 samples to the training split", f"{metrics['eval/fd_classifier']:.2f}")
    ]
    for variance in ("fixed_small", "fixed_large"):
        figure = metrics[f"eval/bits_per_dim_{variance}"]
        error = metrics[f"eval/bits_per_dim_{variance}_stderr"]
        images = f"{metrics['eval/bpd_images']:.0f} held-out images"
        rows += [(f"bits/dim, {variance.replace('_', ' ')}, {images}", f"{figure:.2f} ± {error:.2f}")]
    rows += [("whole run, environment made", f"{measured['seconds']} s")]
    rows += [("the same command again", f"{measured['again_seconds']} s")]
    rows += [("peak memory of all processes", f"{measured['peak_gib']:.1f} GiB")]
    return "\n".join(f"| {left} | {right} |" for left, right in rows)


def test_presets_named_in_the_readme() -> None:
    assert load_config("digits", None, []).sample.count == 512
    assert load_config("folder", None, []).prepare.image_size == 32


def test_the_form_and_the_command_line_agree_as_documented() -> None:
    """The table of docs/operations.md: what the form takes is what the options say."""
    rows = re.findall(r"^\| `(\{.*\})` \| `(--set .*)` \|$", (TOP / "docs/operations.md").read_text(), re.MULTILINE)
    assert len(rows) >= 2
    for parameters, options in rows:
        settings = options.replace("--set ", "").split()
        assert changed({"preset": "digits"} | json.loads(parameters))[0] == load_config("digits", None, settings)


def test_what_the_demo_says_can_be_done() -> None:
    """The commands that `make demo` ends with."""
    makefile = (TOP / "Makefile").read_text()
    (after,) = re.findall(r"define AFTER_DEMO\n(.*?)\nendef", makefile, re.DOTALL)
    commands = re.findall(r"\$\(VENV\)/bin/(ddpm|mlflow) (\w+)", after)
    assert ("ddpm", "run") in commands
    for program, command in commands:
        if program == "ddpm":
            assert run_command([command, "--help"]) == 0
