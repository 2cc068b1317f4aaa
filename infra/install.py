"""Make the environment: `python infra/install.py VENV EXTRA`, with nothing installed yet.

pip first installs uv into the new environment, and uv then installs in seconds what takes pip minutes, with the same
constraints. If uv is unavailable or fails, pip installs everything. uv reads none of pip's settings, so this module
passes on those that it takes to reach the package indexes.
"""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_CONSTRAINTS = "constraints.txt"
# pip's setting, uv's variable. pip separates several values by white space, uv find-links by commas.
_HANDED_OVER = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
_SAME = {"default-timeout": "timeout"}
_SECTIONS = (":env:", "install", "global", "user", "site")

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


def install(venv: Path, extra: str, say: Callable[[str], None], run: RunCommand = subprocess.run) -> None:
    """Install this project with an extra into an environment.

    Args:
        venv: The environment's folder; made if it does not exist.
        extra: The name of a group of optional dependencies.
        say: Receives lines for the terminal.
        run: Runs a command.

    Raises:
        subprocess.CalledProcessError: If pip fails too.
    """
    started = time.monotonic()
    say(f"setup     making {venv} and installing the versions of {_CONSTRAINTS}: half a minute, or minutes without uv")
    run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", _CONSTRAINTS]
    project = ["-e", f".[{extra}]"]
    tool = "uv" if _by_uv(venv, python, pip, project, run) else "pip"
    if tool == "pip":
        say("setup     uv is not available here; pip takes minutes and prints nothing meanwhile")
        run([*pip, *project], check=True)
    say(f"setup     installed by {tool}, {time.monotonic() - started:.0f} s")


def _by_uv(venv: Path, python: str, pip: list[str], project: list[str], run: RunCommand) -> bool:
    if run([*pip, "uv"], check=False).returncode != 0:
        return False
    listing = run([python, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True).stdout
    command = [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", python, "-c", _CONSTRAINTS, *project]
    return run(command, check=False, env=os.environ | uv_settings(listing, os.environ)).returncode == 0


def uv_settings(listing: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Turn the output of `pip config list` into uv's variables, except those that the environment sets already.

    >>> uv_settings("global.index-url='https://example.org/simple'", {})
    {'UV_DEFAULT_INDEX': 'https://example.org/simple'}
    """
    pip_settings: dict[tuple[str, str], str] = {}
    for line in listing.splitlines():
        name, equals, value = line.partition("=")
        section, dot, setting = name.rpartition(".")
        setting = _SAME.get(setting, setting)
        if equals and dot and setting in _HANDED_OVER:
            # pip writes a value as a Python literal, with line ends escaped.
            pip_settings[section, setting] = str(ast.literal_eval(value.strip()))
    settings = {}
    for setting, (variable, separator) in _HANDED_OVER.items():
        values = [pip_settings[section, setting] for section in _SECTIONS if (section, setting) in pip_settings]
        if values and variable not in environment:
            settings[variable] = separator.join(values[0].split())
    if "UV_INDEX" in settings:
        # pip searches all its indexes; uv by default would use only the first that has any version of a package.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    install(Path(sys.argv[1]), sys.argv[2], _say)
