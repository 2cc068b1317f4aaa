"""Every command, path, setting and figure in the documentation is true."""

import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from PIL import Image

from ddpm_core.network.unet import UNet
from flows.cli import run_command
from flows.metrics import flow_units
from flows.recipe.form import changed
from flows.recipe.presets.table import PRESETS
from flows.recipe.settings import load_config
from flows.root import local_folder
from flows.run_record import RunRecord
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.sources import open_source
from flows.stages.train.config import TrainConfig
from infra.compute.units import PATIENCE_S
from infra.outputs.images import DatasetReader
from infra.services.prefect.settings import PAGES_PORT
from infra.sources.formats import parquet_columns
from infra.sources.keys import IMAGE_KEYS
from infra.sources.reading import MAX_PIXELS
from infra.sources.recognition.marks import MARKS
from infra.storage.open import open_store
from tests.conftest import TinyRun
from tests.servers import BUCKET, Server

TOP = Path(__file__).parent.parent
# docs/seed.md has tests of its own.
GUIDES = ["README.md", *(f"docs/{path.name}" for path in sorted((TOP / "docs").glob("*.md")) if path.name != "seed.md")]
PAGES = [*GUIDES, "CONTRIBUTING.md", "CHANGELOG.md", "ddpm_core/README.md"]
README = (TOP / "README.md").read_text()
# The commands of docs/extending.md need its extensions; tests/test_extending.py runs them.
BLOCKS = [
    block
    for page in GUIDES
    if page != "docs/extending.md"
    for block in re.findall(r"^```(\w*)\n(.*?)^```", (TOP / page).read_text(), re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    line.removeprefix(".venv/bin/")
    for kind, block in BLOCKS
    if not kind
    for line in block.splitlines()
    if re.match(r"(\.venv/bin/)?(ddpm|make|mlflow) ", line)
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
    if program == "mlflow":
        assert shlex.join([command, *rest]) in (TOP / "Makefile").read_text(), "the one that `make demo` ends with"
        return
    assert run_command([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in rest if option.startswith("--"))
    settings = [rest[place + 1] for place, option in enumerate(rest) if option == "--set"]
    if settings:
        load_config(rest[0] if rest[0] in PRESETS else "folder", None, settings)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


def test_the_example_config_is_one(tmp_path: Path) -> None:
    (example,) = [block for kind, block in BLOCKS if kind == "toml"]
    file = tmp_path / "small.toml"
    file.write_text(example)
    config = load_config("folder", file, ["prepare.source=PATH"])
    given = tomllib.loads(example)
    assert config.model_dump()["train"]["base_channels"] == given["train"]["base_channels"]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (TOP / page).read_text(), re.MULTILINE | re.DOTALL)


def run_blocks(page: str, replacing: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Run a page's programs as the cells of one notebook; return all its names."""
    names: dict[str, Any] = {}
    for number, program in enumerate(python_blocks(page)):
        for old, new in replacing.items():
            program = program.replace(old, new)
        exec(compile(program, f"{page}, program {number}", "exec"), names)
    return names


@pytest.fixture
def notebook(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyRun:
    """An empty working folder, and two finished runs where the command line would look for them."""
    for name in ("digits-1a2b3c4d", "digits-sample.sampler=ddim-5e6f7a8b"):
        RunRecord(name=name, finished=tiny_run.finished).write(tiny_run.store)
    monkeypatch.setenv("DDPM_ROOT", str(tiny_run.root))
    (tmp_path / "notebook").mkdir()
    monkeypatch.chdir(tmp_path / "notebook")
    return tiny_run


def test_the_programs_of_the_readme_run(notebook: TinyRun) -> None:
    (program,) = python_blocks("README.md")
    assert len([line for line in program.splitlines() if line and " import " not in f" {line}"]) <= 5
    names = run_blocks("README.md")
    assert names["table"].set_index("name").value["fd_pixels"] == notebook.figures.metrics["eval/fd_pixels"]
    assert len(names["network"].state_dict()) > 0
    assert names["images"].shape == (24, 1, 8, 8)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_each_name_that_a_program_imports_is_used(page: str) -> None:
    programs = "\n".join(python_blocks(page))
    lines = [line.partition("import ")[2] for line in programs.splitlines() if "import " in line]
    imported = {name for line in lines for name in line.split(", ")}
    assert all(len(re.findall(rf"\b{name}\b", programs)) > 1 for name in imported)


def test_the_programs_of_the_python_page_run(notebook: TinyRun, moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    root = f"s3://{BUCKET}/docs"
    for name in notebook.store.list("."):
        open_store(root).put_if_absent(name, notebook.store.read(name))
    names = run_blocks("docs/python.md", {"s3://my-bucket/ddpm": root})
    manifest = notebook.samples.manifest(notebook.store)
    samples, _ = DatasetReader(store=notebook.store, manifest=manifest).load("samples", 8)
    assert float((names["again"] == samples).mean()) > 0.99, "the run's own samples, but for rounding"
    training, _ = DatasetReader(store=notebook.store, manifest=notebook.dataset.manifest(notebook.store)).load("train")
    assert names["mean_colour"] == pytest.approx(training.mean(axis=(0, 2, 3)))
    assert names["bound"].total_bpd.shape == (8,)
    weights = names["trained"].network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in names["network"].state_dict().items())
    assert Path("again.png").stat().st_size > 0
    with Image.open("quick.png") as picture:
        assert picture.size == (4 * (64 + 4) + 4, 4 * (64 + 4) + 4), "16 digits of 8 pixels, enlarged to 64"


def test_the_page_on_the_likelihood(notebook: TinyRun) -> None:
    """Its program runs, and its table is the measured one."""
    names = run_blocks("docs/likelihood.md")
    rows = names["bits"]["bits_per_dim_fixed_large"]
    assert names["hardest"].tolist() == sorted(range(16), key=lambda i: -rows[i])
    table = re.search(
        r"<!-- table -->\n(.*?)<!-- end of table -->", (TOP / "docs/likelihood.md").read_text(), re.DOTALL
    )
    assert table
    assert table[1].strip() in (TOP / "benchmarks/RESULTS.md").read_text()
    assert f"at most {flow_units._GRADIENT_IMAGES} images" in prose("docs/likelihood.md")


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def sentences(page: str) -> list[str]:
    """The sentences of a page's own prose that are long enough not to be alike by chance."""
    text = re.sub(
        r"<!-- generated.*?<!-- end of generated -->|^```.*?^```", "\n\n", (TOP / page).read_text(), flags=re.M | re.S
    )
    prose = (" ".join(part.split()) for part in re.split(r"\n\s*\n|\n[*|] |\n\d\. ", text))
    return [one for part in prose for one in re.split(r"(?<=[.:]) ", part) if len(one.split()) >= 7]


def test_no_sentence_twice() -> None:
    counts = Counter(sentence for page in GUIDES for sentence in sentences(page))
    assert len(counts) > 100
    assert [sentence for sentence, count in counts.items() if count > 1] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 180


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths(page: str) -> None:
    text = (TOP / page).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("http"):
            path, _, heading = target.partition("#")
            linked = (TOP / page).parent / path
            assert linked.exists(), target
            assert not heading or heading in headings(linked.read_text()), target
    made = set(re.findall(r"`([\w/.]+)`:\n\n```python\n", text))
    for path in set(re.findall(r"`((?:ddpm_core|infra|flows|tests|docs)/[\w./*]*)`", text)) - made:
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


def prose(name: str) -> str:
    """A page with single spaces, so that a line may end anywhere."""
    return " ".join((TOP / name).read_text().split())


def test_numbers_of_the_demo() -> None:
    config = load_config("digits", None, [])
    found = sum(1 for _ in open_source(config.prepare, "/nowhere").source.find())
    assert f"the {found:,} handwritten digits" in prose("README.md")
    assert f"draws {config.sample.count} new ones" in prose("README.md")
    assert PATIENCE_S == 600
    assert "up to ten minutes for replacement capacity" in prose("README.md")


def test_numbers_of_the_page_on_data_sets() -> None:
    text = prose("docs/datasets.md")
    assert f"more than {MAX_PIXELS / 1e6:.0f} million pixels" in text
    assert PrepareConfig().holdout == 0.1
    assert "a tenth of the images (`prepare.holdout`)" in text
    with torch.device("meta"):
        network = UNet(load_config("folder", None, []).train.unet(32, 3), seed=0)
    assert f"{sum(weight.numel() for weight in network.parameters()) / 1e6:.1f} M parameters" in text
    (tar,) = [mark for mark in MARKS if mark.kind == "tar"]
    for names in (tar.suffixes, IMAGE_KEYS[:5], parquet_columns.LABEL_COLUMNS):
        listed = [f"`{name}`" for name in names if name != "labels"]
        places = [text.index(name) for name in listed]
        assert places == sorted(places)


def test_numbers_of_the_page_on_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    text = prose("docs/operations.md")
    assert f"`train.checkpoint_minutes` ({TrainConfig().checkpoint_minutes:.0f})" in text
    assert f"at http://127.0.0.1:{PAGES_PORT}" in prose("docs/scheduling.md")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(local_folder("s3://bucket/prefix").parent) == "/home/someone/.local/state/ddpm-flows"
    assert "`~/.local/state/ddpm-flows`" in text


def test_the_form_and_the_command_line_agree_as_documented() -> None:
    """The table of docs/scheduling.md: what the form takes is what the options say."""
    rows = re.findall(r"^\| `(\{.*\})` \| `(--set .*)` \|$", (TOP / "docs/scheduling.md").read_text(), re.MULTILINE)
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
