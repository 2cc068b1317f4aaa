"""An error of infra reaches the user with the options and settings of `ddpm`."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.options import OPTIONS, name_options
from infra.errors import ConfigError, ConflictError, DdpmError, InputError, IntegrityError, ResourceError, Term

INFRA = Path(__file__).parents[2] / "infra"
# Files are called train.csv too.
OPTION = re.compile(r"(?<![\w-])--[a-z]|\b(prepare|train|sample|evaluate)\.(?!(csv|txt|zip|tar)\b)[a-z_]+")
SETTING = re.compile(r"\b(prepare|train|sample|evaluate)\.[a-z_]+|--(set|root|force|config)\b")
# Docstrings draw arrows: --beat--> and <--poll--.
ARROW = re.compile(r"--[^\n>]*-->|<--[^\n]*?--")
# Modules that make a command line of another program, or write about one: Ray's, MLflow's, nvidia-smi's.
CALLERS = {
    "compute/head.py",
    "compute/jobs_stop.py",
    "compute/usage.py",
    "services/mlflow/server.py",
    "tracking/visit.py",
}
# Options of other programs elsewhere, and a name of Amazon's.
FOREIGN = {
    "ray.train.torch",
    "--session[-_]dir=(/[^\\0]+)",
    "--disable-pip-version-check",
    "--quiet",
    "--python",
    "mlflow ui --backend-store-uri ",
    "--ol-s3",
    "--x-s3",
    "--table-s3",
}


def strings(path: Path) -> Iterator[str]:
    """Every string constant of a module, docstrings too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            yield node.value.decode("latin-1")


def test_infra_names_no_option_or_setting() -> None:
    paths = {str(path.relative_to(INFRA)): path for path in INFRA.rglob("*.py")}
    texts = {(name, text) for name, path in paths.items() for text in strings(path)}
    named = {(name, text) for name, text in texts if OPTION.search(ARROW.sub("", text))}
    assert {text for name, text in named if name not in CALLERS} == FOREIGN
    assert {name for name, _ in named} >= CALLERS
    settings = {text for name, text in named if name in CALLERS and SETTING.search(text)}
    assert not settings, "an option of another program is no setting of ours"


def test_every_term_has_an_option() -> None:
    assert OPTIONS.keys() == set(Term)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            InputError("holds no images", item=Term.SOURCE, remedy=f"check {Term.SOURCE_KIND} and it", stage="prepare"),
            "prepare: prepare.source: holds no images - check prepare.kind and it",
        ),
        (
            InputError("scikit-learn is not installed", item=f"{Term.SOURCE_KIND} digits", remedy="pip install it"),
            "prepare.kind digits: scikit-learn is not installed - pip install it",
        ),
        (
            ConflictError("was begun", item="x", remedy=f"finish it there, or {Term.RUN_ANEW} to start afresh"),
            "x: was begun - finish it there, or run with --force to start afresh",
        ),
        (IntegrityError("not a record", remedy=Term.RUN_ANEW), "not a record - run with --force"),
        (ConfigError("not a folder", remedy=f"choose {Term.ANOTHER_ROOT}"), "not a folder - choose another --root"),
        (
            ResourceError("is taken", item="port 1", remedy=f"choose {Term.ANOTHER_PORT}, or stop it"),
            "port 1: is taken - choose another with --port, or stop it",
        ),
        (
            ResourceError("do not run", remedy=f"{Term.ONE_WORKER} or use Ray"),
            "do not run - set train.workers=1 or use Ray",
        ),
        (InputError("is torn", item=f"/a/{Term.ANOTHER_ROOT}/x.png"), "/a/another root/x.png: is torn"),
    ],
    ids=str,
)
def test_options_take_the_place_of_terms(error: DdpmError, line: str) -> None:
    travelled = pickle.loads(pickle.dumps(error))
    for one in (error, travelled):
        name_options(one)
        assert str(one) == line
        name_options(one)
        assert str(one) == line


def remedies() -> Iterator[tuple[str, ast.expr]]:
    """Every remedy of an error, and its file."""
    top = Path(__file__).parents[2]
    for path in sorted([*(top / "flows").rglob("*.py"), *(top / "infra").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
            if (isinstance(node, ast.keyword) and node.arg == "remedy") or (
                isinstance(node, ast.Assign) and any("REMEDY" in name.upper() for name in names)
            ):
                yield path.name, node.value


def test_to_start_afresh_is_never_the_only_way_on() -> None:
    found = list(remedies())
    assert len(found) > 50
    for file, remedy in found:
        assert ast.unparse(remedy) not in ("Term.RUN_ANEW", "'run with --force'"), file


@pytest.mark.parametrize("term", Term)
def test_options_are_named_once(term: Term) -> None:
    """A failure passes several places that name them."""
    error = ResourceError("is away", remedy=f"look; {term}, or run again")
    name_options(error)
    once = error.remedy
    name_options(error)
    assert error.remedy == once
