"""Rules of the layout that import contracts cannot state."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGES = ("ddpm_core", "infra", "flows")
MODULES = sorted(path for package in PACKAGES for path in (TOP / package).rglob("*.py"))
TESTS = sorted((TOP / "tests").rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60
# The standard library and, beside it, what each package may use.
ALLOWED = {
    "ddpm_core": {"torch", "jaxtyping", "ddpm_core"},
    "infra": {
        "infra", "numpy", "PIL", "pyarrow", "torch", "safetensors", "ray", "mlflow", "botocore", "prefect", "uvicorn",
        "fsspec",
    },
    "flows": {
        "flows", "infra", "ddpm_core", "numpy", "PIL", "pyarrow", "torch", "pydantic", "prefect", "typer", "rich",
        "matplotlib", "jinja2",
    },
}  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


@pytest.fixture(scope="module")
def test_texts() -> str:
    """All tests, one after the other."""
    return "\n".join(path.read_text() for path in TESTS)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=name_of)
def test_length(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_allowed_packages(path: Path) -> None:
    package = path.relative_to(TOP).parts[0]
    outside = {name for name in imports(path) if name not in sys.stdlib_module_names}
    assert outside <= ALLOWED[package]


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_init_files_hold_a_docstring_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=name_of)
def test_every_module_is_used_by_some_test(path: Path, test_texts: str) -> None:
    place = path.relative_to(TOP)
    module = ".".join(place.with_suffix("").parts)
    package, _, name = module.rpartition(".")
    ways = (
        rf"from {re.escape(module)} import",
        rf"import {re.escape(module)}\b",
        rf"from {re.escape(package)} import [^\n]*\b{name}\b",
        rf"\"{re.escape(module)}\"",
    )
    own = TOP / "tests" / place.parent / f"test_{place.name}"
    assert own.is_file() or any(re.search(way, test_texts) for way in ways), f"no test uses {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_that_runs_code_on_load(path: Path) -> None:
    assert not imports(path) & {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"}
    assert " torch.load" not in path.read_text()
    assert "allow_pickle=True" not in path.read_text()


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("ddpm_core.choices", {"torch", "numpy", "jaxtyping"}),
        ("ddpm_core.diffusion", {"ray", "prefect", "mlflow", "pandas", "numpy.testing"}),
        ("flows.stages.train.training", {"prefect", "mlflow", "ray"}),
        ("flows.stages.train.worker", {"prefect", "mlflow", "ray"}),
        ("flows.stages.prepare.units", {"torch", "prefect", "mlflow", "ray"}),
        ("flows.run", {"prefect", "mlflow", "ray", "pandas", "matplotlib"}),
        ("flows.cli", {"torch", "ray", "prefect", "mlflow"}),
    ],
)
def test_what_a_fresh_process_loads(module: str, never: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TOP)
    assert not never & set(done.stdout.split())
