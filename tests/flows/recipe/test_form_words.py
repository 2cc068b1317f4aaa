"""The line of a failed run is in the words of the form, not in options of the command line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.recipe.form_schema import in_form_words

TOP = Path(__file__).parents[3]


def remedies() -> Iterator[str]:
    """Every text of a stage, or of what it works with, that names an option of the command line."""
    for path in sorted([*(TOP / "flows").rglob("*.py"), *(TOP / "infra").rglob("*.py")]):
        if path.parent.name != "commands" and path.name != "form_schema.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if (isinstance(node, ast.keyword) and node.arg == "remedy") or isinstance(node, ast.Assign):
                    yield from texts(node.value)


def texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        options = ("--set", "--force", "--root")
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and any(o in part.value for o in options):
            yield part.value


REMEDIES = sorted(set(remedies()))


def test_there_are_such_remedies() -> None:
    for option in ("--set prepare.source=PATH", "run with --force", "choose another --root"):
        assert any(option in remedy for remedy in REMEDIES)


@pytest.mark.parametrize("remedy", REMEDIES)
def test_remedies_are_in_the_forms_words(remedy: str) -> None:
    assert "--" not in in_form_words(remedy)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prepare.source: is not set - --set prepare.source=PATH", "is not set - fill in “Images to read”"),
        ("x - --set train.grad_clip=2", "fill in “Bound on the gradient's norm” below “More settings: train”"),
        ("or run with --force to start afresh", "turn on “Start afresh” below “More settings: run” to start afresh"),
        ("drop --strict-environment, or", "turn off “Refuse another environment” below “More settings: run”, or"),
        ("drop --no-wait", "turn on “Wait for other runs” below “More settings: run”"),
        ("wait longer by --patience", "raise “Wait for nodes (minutes)” below “More settings: run”"),
        ("choose another --root", "choose another “Root of all outputs”"),
    ],
)
def test_the_forms_words(line: str, words: str) -> None:
    assert in_form_words(line).endswith(words)
