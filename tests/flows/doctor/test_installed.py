"""The distribution of this package as its metadata describe it."""

import tomllib
from pathlib import Path

import pytest

from flows.doctor.installed import constraints, distribution, requirements, version_of
from infra.errors import ConfigError

TOP = Path(__file__).parent.parent.parent.parent


def test_requirements_are_those_of_the_project_file() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    names = {one.name for one in requirements()}
    assert {"torch", "mlflow", "prefect", "ray"} <= names
    assert "pytest" not in names, "an extra's"
    assert len(names) >= len(project["dependencies"]) - 1
    assert distribution().version == project["version"]


def test_constraints_name_every_requirement() -> None:
    assert {one.name for one in requirements()} <= {one.name.lower() for one in constraints()}


def test_constraints_of_an_installation_without_their_file(tmp_path: Path) -> None:
    assert constraints(tmp_path / "none.txt") == []
    (tmp_path / "some.txt").write_text("# a comment\n\ntorch==2.13.0  # why\n--hash=sha256:0\n")
    assert [str(one) for one in constraints(tmp_path / "some.txt")] == ["torch==2.13.0"]


def test_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])  # where no package is; a checkout may hold an egg-info
    with pytest.raises(ConfigError, match="ddpm-flows: is not installed"):
        distribution()
    assert version_of("torch") == ""
