"""The environment is made by uv with pip's settings, or by pip alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.install import install, uv_settings


def listed_by_pip(folder: Path, config: str, **environment: str) -> str:
    """Return the lines of this machine's own pip about a config file and variables, and nothing else."""
    file = folder / "pip.conf"
    file.write_text(config)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env=kept | environment | {"PIP_CONFIG_FILE": str(file)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


SECTIONS = """
[global]
index-url = https://global.example/simple
cert = /global.pem
timeout = 7
[install]
cert = /install.pem
extra-index-url = https://one.example/simple https://two.example/simple
find-links =
    /opt/wheels
    https://three.example/wheels
"""


def test_what_pip_lists_is_handed_to_uv(tmp_path: Path) -> None:
    listed = listed_by_pip(tmp_path, SECTIONS, PIP_INDEX_URL="https://variable.example/simple")
    assert uv_settings(listed, {}) == {
        "UV_DEFAULT_INDEX": "https://variable.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/opt/wheels,https://three.example/wheels",
        "SSL_CERT_FILE": "/install.pem",
        "UV_HTTP_TIMEOUT": "7",
    }


def test_pips_default_timeout_is_its_timeout(tmp_path: Path) -> None:
    listed = listed_by_pip(tmp_path, "[global]\ntimeout = 7", PIP_DEFAULT_TIMEOUT="180")
    assert uv_settings(listed, {})["UV_HTTP_TIMEOUT"] == "180"


def test_uvs_own_variables_win() -> None:
    listed = "global.index-url='https://a.example'\nglobal.cert='/a.pem'\n"
    assert uv_settings(listed, {"UV_DEFAULT_INDEX": "https://b.example"}) == {"SSL_CERT_FILE": "/a.pem"}
    assert uv_settings(listed, {"UV_DEFAULT_INDEX": "", "SSL_CERT_FILE": "/b.pem"}) == {}


@pytest.mark.parametrize("listed", ["", "\n", "global.no-cache-dir='true'", "WARNING: odd", "index-url='https://x'"])
def test_what_uv_does_not_need_is_left_out(listed: str) -> None:
    assert uv_settings(listed, {}) == {}


def is_pip_for_uv(command: list[str]) -> bool:
    return command[-1] == "uv"


def is_uv(command: list[str]) -> bool:
    return command[0].endswith("/uv")


def is_of_the_project(command: list[str]) -> bool:
    return ".[dev]" in command


class Commands:
    """Runs nothing, and fails what it is to fail."""

    def __init__(self, fails: Callable[[list[str]], bool] = lambda _: False) -> None:
        self.fails = fails
        self.run: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(
        self, command: list[str], *, check: bool, env: dict[str, str] | None = None, **_: object
    ) -> "subprocess.CompletedProcess[str]":
        self.run.append(command)
        if env is not None:
            self.environments.append(env)
        code = int(self.fails(command))
        if check and code:
            raise subprocess.CalledProcessError(code, command)
        return subprocess.CompletedProcess(command, code, stdout="global.timeout='7'", stderr="")

    def install(self) -> list[str]:
        """Install by these commands; return the lines that are said."""
        lines: list[str] = []
        install(Path("env"), "dev", lines.append, self)
        return lines

    @property
    def of_the_project(self) -> list[list[str]]:
        return list(filter(is_of_the_project, self.run))


def test_uv_installs_with_the_constraints_and_pips_settings() -> None:
    commands = Commands()
    lines = commands.install()
    assert commands.run[0] == [sys.executable, "-m", "venv", "env"]
    (command,) = commands.of_the_project
    assert command[:3] == ["env/bin/uv", "pip", "install"]
    assert command[command.index("-c") + 1] == "constraints.txt"
    assert command[command.index("--python") + 1] == "env/bin/python"
    assert commands.environments[0]["UV_HTTP_TIMEOUT"] == os.environ.get("UV_HTTP_TIMEOUT", "7")
    assert commands.environments[0]["PATH"] == os.environ["PATH"]
    assert lines[0].startswith("setup     making env and installing the versions of constraints.txt")
    assert "installed by uv, " in lines[-1]
    assert len(lines) == 2


@pytest.mark.parametrize(("fails", "tools"), [(is_pip_for_uv, ["python"]), (is_uv, ["uv", "python"])])
def test_if_uv_cannot_be_had_or_fails_pip_does_it(fails: Callable[[list[str]], bool], tools: list[str]) -> None:
    commands = Commands(fails)
    lines = commands.install()
    assert [Path(command[0]).name for command in commands.of_the_project] == tools
    command = commands.of_the_project[-1]
    assert command[:4] == ["env/bin/python", "-m", "pip", "install"]
    assert command[command.index("-c") + 1] == "constraints.txt"
    assert "pip takes minutes" in lines[1]
    assert "installed by pip, " in lines[2]


def test_if_pip_fails_too_so_does_the_installation() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        Commands(is_of_the_project).install()
