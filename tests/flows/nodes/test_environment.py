"""Only what can change the bytes of some work counts as its environment, and each thing left out has a reason."""

import ast
import sys
from typing import get_args

import pytest

from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import EXTRACTORS
from flows.nodes.environment import PACKAGES, Work, environment_here
from infra.compute.hardware import PACKAGES as ALL
from tests.scripts import REPOSITORY

# The modules that compute some work, in a worker or beside it.
WORKERS: dict[Work, tuple[str, ...]] = {
    "preparing": ("flows.stages.prepare.units", "flows.stages.prepare.sources"),
    "training": ("flows.stages.train.worker",),
    "sampling": ("flows.stages.sample.units",),
    "copying": ("infra.features.weights_file", "infra.outputs.tensors"),
    "extracting": ("flows.metrics.features",),
    "measuring": ("flows.metrics.measuring", "flows.metrics.table"),
}
# Modules that are imported although their package is not listed, because they only copy or check what they read.
COPY = {
    "infra.outputs.images": {"numpy", "pyarrow"},
    "infra.outputs.rows": {"numpy"},
    "flows.metrics.extractors": {"numpy"},
    "flows.metrics.features": {"numpy"},
    "flows.metrics.likelihood_inputs": {"numpy"},
    "flows.stages.train.commits": {"numpy"},
    "flows.stages.train.watch.images": {"numpy"},
    "infra.features.statistics_file": {"numpy"},
}
# The functions of NumPy that copy, number, check or find, in float64 at most to compare; none computes what is stored.
COPYING = {
    *("arange", "array", "asarray", "concatenate", "cumsum", "empty", "flatnonzero", "float64", "frombuffer", "full"),
    *("int32", "int64", "isfinite", "load", "lib", "ndarray", "savez", "searchsorted", "uint8", "unique"),
    *("abs", "diag", "errstate"),
}
# Modules that an extractor alone calls; it names their packages itself.
OF_AN_EXTRACTOR = {"infra.features.dinov2.resize": ExtractorName.DINOV2}
MODULES = {"numpy": "numpy", "PIL": "pillow", "pyarrow": "pyarrow", "sklearn": "scikit-learn", "torch": "torch"}


def modules_of(work: Work) -> dict[str, ast.Module]:
    """The code of ours that is loaded for some work, by the modules' names, without imports inside functions."""
    found: dict[str, ast.Module] = {}
    waiting = list(WORKERS[work])
    while waiting:
        name = waiting.pop()
        file = REPOSITORY / f"{name.replace('.', '/')}.py"
        if name not in found and file.is_file():
            found[name] = ast.parse(file.read_text())
            for node in found[name].body:
                if isinstance(node, ast.Import):
                    waiting += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def packages_of(code: ast.Module) -> set[str]:
    """The packages among those that can count which a module imports."""
    names = [
        name
        for node in ast.walk(code)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    return {MODULES[name.partition(".")[0]] for name in names if name.partition(".")[0] in MODULES}


@pytest.mark.parametrize("work", get_args(Work))
def test_what_is_imported_counts_or_only_copies(work: Work) -> None:
    modules = {name: packages_of(code) for name, code in modules_of(work).items()}
    used = set().union(*modules.values())
    assert set(PACKAGES[work]) <= used, "each package that counts is imported"
    for name, packages in modules.items():
        unlisted = packages - set(PACKAGES[work]) - COPY.get(name, set())
        if name in OF_AN_EXTRACTOR:
            unlisted -= set(EXTRACTORS[OF_AN_EXTRACTOR[name]].packages)
        assert not unlisted - ({"torch"} if work == "copying" else set()), name


@pytest.mark.parametrize("name", sorted(name for name, packages in COPY.items() if "numpy" in packages))
def test_a_module_that_only_copies_computes_nothing_with_numpy(name: str) -> None:
    code = ast.parse((REPOSITORY / f"{name.replace('.', '/')}.py").read_text())
    calls = {
        node.attr
        for node in ast.walk(code)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np"
    }
    assert calls <= COPYING


def test_pillow_counts_where_an_extractor_resizes_with_it() -> None:
    assert {name for name, kind in EXTRACTORS.items() if "pillow" in kind.packages} == {ExtractorName.DINOV2}
    assert {"numpy", "pillow", "torch"} < environment_here("extracting", ("numpy", "pillow")).keys()


@pytest.mark.parametrize("work", get_args(Work))
def test_it_names_device_python_and_what_counts(work: Work) -> None:
    found = environment_here(work)
    assert found.keys() == {"device", "python", *PACKAGES[work]}
    assert set(PACKAGES[work]) <= set(ALL)
    assert found["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_training_does_not_count_what_reads_images() -> None:
    assert PACKAGES["training"] == ("torch",)
