"""Rules of the layout that import contracts cannot state."""

import ast
import subprocess
import sys
from functools import cache
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
        "fsspec", "huggingface_hub",
    },
    "flows": {
        "flows", "infra", "ddpm_core", "numpy", "PIL", "pyarrow", "torch", "pydantic", "prefect", "typer", "rich",
        "matplotlib", "jinja2", "packaging",
    },
}  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def length(node: ast.FunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_length() -> None:
    files = (*MODULES, *TESTS)
    assert not [name_of(path) for path in files if len(path.read_text().splitlines()) > MAX_FILE_LINES]
    functions = [
        (path, node) for path in files for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)
    ]
    assert not [f"{name_of(path)}: {node.name}" for path, node in functions if length(node) > MAX_FUNCTION_LINES]


def test_only_allowed_packages() -> None:
    known = {path: ALLOWED[path.relative_to(TOP).parts[0]] | sys.stdlib_module_names for path in MODULES}
    assert not {name_of(path): imports(path) - names for path, names in known.items() if imports(path) - names}


def test_init_files_hold_a_docstring_only() -> None:
    trees = {name_of(path): tree_of(path) for path in MODULES if path.name == "__init__.py"}
    assert not [name for name, tree in trees.items() if len(tree.body) != 1 or not ast.get_docstring(tree)]


def names_in(path: Path) -> set[str]:
    """The dotted names that a file imports, with what it takes from each, and its strings."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_every_module_is_used_by_some_test() -> None:
    """A test stands in its place among the tests, or one names it."""
    named = set().union(*map(names_in, TESTS))
    places = [path.relative_to(TOP) for path in MODULES if path.name != "__init__.py"]
    assert not [
        str(place)
        for place in places
        if ".".join(place.with_suffix("").parts) not in named
        and not (TOP / "tests" / place.parent / f"test_{place.name}").is_file()
    ]


def test_nothing_that_runs_code_on_load() -> None:
    loaders = {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"}
    for path in MODULES:
        assert not imports(path) & loaders, name_of(path)
        assert " torch.load" not in path.read_text(), name_of(path)
        assert "allow_pickle=True" not in path.read_text(), name_of(path)


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
