"""The installation: Python, packages, extras and torch, each wrong state made by stub distributions or given facts."""

import importlib
import sys
from pathlib import Path

import pytest

from flows.doctor import installed
from flows.doctor.check import Subject
from flows.doctor.checks import extras, packages, python, torch_build
from flows.doctor.finding import Level
from infra.errors import ConfigError
from tests.flows.doctor.stubs import install

SUBJECT = Subject(root="here")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages in front of the installed ones."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return tmp_path


def test_this_installation_is_well() -> None:
    (one,) = python.check(SUBJECT)
    assert one.level is Level.OK
    assert f"Python {sys.version.split()[0]}" in one.cause
    assert [one for one in packages.check(SUBJECT) if one.level is Level.WRONG] == []


def test_a_python_that_is_too_old(site: Path) -> None:
    install(site, "ddpm-flows", "9.0", python=">=4.0")
    with pytest.raises(ConfigError, match=r"Python 3\.\d+\.\d+: ddpm-flows needs Python >=4.0 - make an environment"):
        list(python.check(SUBJECT))


def test_packages_that_are_too_old_too_new_or_missing(site: Path) -> None:
    install(site, "ddpm-flows", "9.0", requires=["mlflow>=3.17,<3.18", "no-such-package>=1", 'other; extra == "dev"'])
    install(site, "mlflow", "2.9.1")
    install(site, "sqlalchemy", "2.1.4")
    lines = {one.item: str(one) for one in packages.check(SUBJECT) if one.level is Level.WRONG}
    assert lines.keys() == {"mlflow", "no-such-package", "sqlalchemy"}
    assert lines["mlflow"].startswith("mlflow: is 2.9.1, and needs to be <3.18,>=3.17 - install again")
    assert lines["no-such-package"].startswith("no-such-package: is not installed")
    assert "Prefect's scheduler fails" in lines["sqlalchemy"]
    assert all(one.exit_code == 2 for one in packages.check(SUBJECT) if one.level is Level.WRONG)


def test_versions_that_the_tests_did_not_run_with(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "constraints.txt").write_text("safetensors==0.0.1\npackaging>=1\n")
    monkeypatch.setattr(packages, "constraints", lambda: installed.constraints(site / "constraints.txt"))
    (one,) = packages.check(SUBJECT)
    assert one.level is Level.WARNING
    assert "safetensors" in one.cause
    assert "packaging" not in one.cause


def test_an_extra_that_is_missing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "dashboard_lacks", lambda: ["aiohttp_cors"])
    ray, _ = extras.check(SUBJECT)
    assert ray.level is Level.OK
    assert 'no aiohttp_cors): Ray then has no dashboard and takes no jobs - for both: pip install "ray[default]' in str(
        ray
    )
    monkeypatch.setattr(extras, "dashboard_lacks", list)
    assert next(iter(extras.check(SUBJECT))).cause == "installed: Ray has its dashboard"


@pytest.mark.parametrize(
    ("built", "seen", "present", "hidden", "level", "says"),
    [
        ("", [], 0, None, Level.OK, "for CPUs; this machine has no GPU"),
        ("CUDA 13.0", ["H100"], 1, None, Level.OK, "CUDA 13.0; sees H100"),
        ("CUDA 13.0", [], 0, None, Level.OK, "CUDA 13.0; this machine has no GPU"),
        ("", [], 2, None, Level.WARNING, "for CPUs alone, and this machine has 2 GPUs - install a build"),
        ("CUDA 13.0", [], 1, "", Level.WARNING, "CUDA_VISIBLE_DEVICES hides all"),
        ("CUDA 13.0", [], 1, "0", Level.WRONG, "sees none of this machine's 1 GPUs - update the GPU's driver"),
    ],
)
def test_torch_beside_the_gpus(
    built: str, seen: list[str], present: int, hidden: str | None, level: Level, says: str
) -> None:
    found = torch_build.judge(version="2.13.0", built=built, seen=seen, present=present, hidden=hidden)
    assert found.level is level
    assert says in str(found)


def test_gpus_are_counted_by_their_device_files(tmp_path: Path) -> None:
    assert torch_build.gpus_present(tmp_path) == 0
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset"):
        (tmp_path / name).touch()
    assert torch_build.gpus_present(tmp_path) == 2
    (tmp_path / "amd").mkdir()
    (tmp_path / "amd" / "kfd").touch()
    assert torch_build.gpus_present(tmp_path / "amd") == 1


def test_torch_here() -> None:
    import torch

    (one,) = torch_build.check(SUBJECT)
    assert one.item == f"torch {torch.__version__}"
    assert one.level is Level.OK
