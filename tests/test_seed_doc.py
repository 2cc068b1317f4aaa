"""docs/seed.md: what it names exists, its figures and numbers are those the script makes, its order is the seed's."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from docs import seed_figures

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "seed.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
LINK = re.compile(r"\[`([\w.]+)`\]\((\.\./[\w/]+\.py)\)")
# The seed's own headings and, below each, its statements.
ORDER = """
## Background
reverse, forward, reparametrisation, sum of two normals, q(x_t | x_0), bound, L_T, Bayes, square, mean and variance
## Diffusion models and denoising score matching
three choices, fixed β_t, σ², weighted distance, x_0 from ε, μ̃ by ε, μ_θ by ε_θ, one draw, Langevin, score matching, L_0
## The loss
L_simple, weight
## The algorithms
data, network, training, sampling
"""


@pytest.fixture(scope="module")
def facts() -> seed_figures.Facts:
    return seed_figures.compute()


def title(section: str) -> str:
    return section.splitlines()[0]


def links(section: str, folder: str) -> list[tuple[str, Path]]:
    found = [(name, (DOCS / target).resolve()) for name, target in LINK.findall(section)]
    return [(name, path) for name, path in found if path.is_relative_to(DOCS.parent / folder)]


def test_statements_come_in_the_seeds_order():
    found = re.findall(r"^(##|###) (.*)$", PAGE, flags=re.MULTILINE)
    expected: list[tuple[str, str]] = []
    for line in ORDER.strip().splitlines():
        expected += [("##", line[3:])] if line.startswith("## ") else [("###", word) for word in line.split(", ")]
    assert [level for level, _ in found] == [level for level, _ in expected]
    for (_, said), (_, wanted) in zip(found, expected, strict=True):
        assert wanted.lower() in said.lower()
    assert [int(title(section).split(".")[0]) for section in SECTIONS] == list(range(1, len(SECTIONS) + 1))


@pytest.mark.parametrize("section", SECTIONS, ids=title)
def test_the_code_it_names_exists(section):
    named = links(section, "ddpm_core")
    assert named
    for name, path in named:
        module, *attributes = name.split(".")
        assert path.name == f"{module}.py"
        thing = importlib.import_module(".".join(path.relative_to(DOCS.parent).with_suffix("").parts))
        assert thing.__file__ == str(path)
        for attribute in attributes:
            # Fields without a default are annotations, not attributes, of a dataclass.
            assert hasattr(thing, attribute) or attribute in thing.__annotations__, name
            thing = getattr(thing, attribute, None)


@pytest.mark.parametrize("section", SECTIONS, ids=title)
def test_the_tests_it_names_exist(section):
    named = links(section, "tests/ddpm_core")
    assert named
    for name, path in named:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, path.name


def test_every_test_of_the_seed_is_named():
    files = sorted((DOCS.parent / "tests" / "ddpm_core" / "seed").glob("test_*.py"))
    nodes = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    written = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert written
    assert written <= {name for name, _ in LINK.findall(PAGE)}


def test_other_links_exist():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert target.startswith("http") or (DOCS / target).exists(), target


def test_references_between_statements_lead_to_one():
    for number in re.findall(r"\((\d+)\)|\b(?:test of|weight of|loop of|In) (\d+)", PAGE):
        assert 1 <= int("".join(number)) <= len(SECTIONS)


def test_figures_are_what_the_script_makes(facts):
    made = seed_figures.figures(facts)
    assert {path.name for path in (DOCS / "seed").glob("*.svg")} == set(made)
    for name, svg in made.items():
        assert f"](seed/{name})" in PAGE
        assert (DOCS / "seed" / name).read_bytes() == svg.encode(), name


def test_figures_are_legible(facts):
    """A white ground under everything, labelled axes and a legend, or a scale; no word begins or is centred outside."""
    for name, svg in seed_figures.figures(facts).items():
        ground = re.fullmatch(r'<rect width="(\d+)" height="(\d+)" fill="#ffffff"/>', svg.splitlines()[2])
        assert ground
        words = re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)"', svg)
        assert len(words) >= 10
        assert all(0 < float(x) < int(ground[1]) and 0 < float(y) < int(ground[2]) for x, y in words)
        assert "1 or above" in svg if name == "forward.svg" else "rotate(-90" in svg and 'h26"' in svg
        assert len(svg) < 20_000


def test_numbers_are_what_the_script_computes(facts):
    made = seed_figures.numbers(facts)
    assert (DOCS / "seed" / "numbers.md").read_bytes() == made.encode()
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", PAGE, flags=re.DOTALL)
    printed = set(re.findall(r"\d+\.\d+", prose))
    assert len(printed) > 10
    # The cap of the cosine schedule is asserted by test_schedule.py.
    assert printed - {"0.999"} <= set(re.findall(r"\d+\.\d+", made))
