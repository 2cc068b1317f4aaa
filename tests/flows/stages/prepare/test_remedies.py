"""Every refusal of the preparation names a next step: a setting, a command, or what to do with the file.

The remedies are read from the source code, so that a new refusal is held to this too. `test_ways_on.py` follows some of
them to a data set.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from infra import errors
from infra.errors import DdpmError, Term

REPOSITORY = Path(__file__).parents[4]
PACKAGES = ("infra/sources", "flows/stages/prepare")
ERRORS = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DdpmError)}
# A setting or an option, or a command.
GOES_ON = re.compile("|".join([*map(re.escape, Term), r"prepare\.[a-z_]+", r"--[a-z]", "pip install", r"ddpm [a-z]+"]))
# The file itself is at fault: it is damaged, of a form that is not read, too large, or cannot be reached. Errors of one
# image among these may also be set aside, which `flows.stages.prepare.units` appends.
OF_THE_FILE = re.compile(
    r"(remove|repair|rename|reinstall|fetch|pack|save|split|copy|export|write|embed|transpose|shift|unpack|convert|call"
    r"|put|give it as|prepare|leave|make|let|run again|name the|name other|in MATLAB: )"
)
# What such a remedy may be about; a fault of labels never ends without the setting that leaves them out.
ABOUT_LABELS = re.compile(r"\blabel|\bclass(es)?\b", re.IGNORECASE)
OF_LABELS_AND_IMAGES = {
    # CIFAR's files are one published form, in which labels and images are one record.
    "infra/sources/kinds/cifar.py",
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            yield node


def texts(node: ast.expr, path: Path, line: int) -> list[str]:
    """The texts that an expression at a line may have; other values than constants are shown as they are written."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(texts(one, path, line)[0] for one in values)]
        case ast.FormattedValue(value=value):
            return texts(value, path, line)
        case ast.Attribute(value=ast.Name(id="Term"), attr=name):
            return [str(Term[name])]
        case ast.IfExp(body=one, orelse=other):
            return texts(one, path, line) + texts(other, path, line)
        case ast.Name(id=name):
            module = importlib.import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
            if isinstance(value := getattr(module, name, None), str):
                return [value]
            return assigned(name, path, line) or [f"<{name}>"]
    return [f"<{ast.unparse(node)}>"]


def assigned(name: str, path: Path, line: int) -> list[str]:
    """The texts that a name of a function has at a line: those of the branches that assign it before, put together."""
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef) and node.lineno <= line]
    found: list[str] = []
    for node in ast.walk(max(functions, key=lambda function: function.lineno)):
        if isinstance(node, ast.Assign | ast.AugAssign) and node.lineno < line:
            target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id == name:
                more = texts(node.value, path, node.lineno)
                found = [f"{found[-1]}{more[0]}"] if isinstance(node, ast.AugAssign) else [*found, *more]
    return found


FILES = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
REFUSALS = {f"{path.relative_to(REPOSITORY)}:{call.lineno}": (path, call) for path in FILES for call in calls(path)}
# Remedies that another object brings along, which has tests of its own.
BROUGHT = {"<self._remedy>", "<remedy>", "<foreign.remedy>"}


def remedies(path: Path, call: ast.Call) -> list[str]:
    given = [one.value for one in call.keywords if one.arg == "remedy"]
    return [text for one in given for text in texts(one, path, call.lineno)]


def test_there_are_many() -> None:
    assert len(REFUSALS) > 150


@pytest.mark.parametrize("place", REFUSALS)
def test_each_names_a_next_step(place: str) -> None:
    found = remedies(*REFUSALS[place])
    assert found, "it has a remedy"
    for remedy in found:
        assert remedy in BROUGHT or GOES_ON.search(remedy) or OF_THE_FILE.match(remedy), remedy


@pytest.mark.parametrize("place", REFUSALS)
def test_a_fault_of_labels_names_the_setting_that_leaves_them_out(place: str) -> None:
    path, call = REFUSALS[place]
    if str(path.relative_to(REPOSITORY)) in OF_LABELS_AND_IMAGES or not call.args:
        return
    for cause in texts(call.args[0], path, call.lineno):
        if ABOUT_LABELS.search(cause) and not cause.startswith("<"):
            assert all(Term.LABELS in remedy or remedy in BROUGHT for remedy in remedies(path, call)), cause
