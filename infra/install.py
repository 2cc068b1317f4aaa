"""Make the environment: `python infra/install.py VENV EXTRA`, with nothing installed yet.

uv, which pip puts into the new environment first, does in seconds what takes pip minutes, with the same constraints.
If uv cannot be had, or fails, pip does it. uv reads none of pip's settings, so it is handed those that say where
packages come from.
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
        venv: The environment; made if it is not there.
        extra: Of the project's optional dependencies.
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
    wanted = ["-e", f".[{extra}]"]
    tool = "uv" if _by_uv(venv, python, pip, wanted, run) else "pip"
    if tool == "pip":
        say("setup     uv cannot be had here; pip takes minutes, and is silent meanwhile")
        run([*pip, *wanted], check=True)
    say(f"setup     installed by {tool}, {time.monotonic() - started:.0f} s")


def _by_uv(venv: Path, python: str, pip: list[str], wanted: list[str], run: RunCommand) -> bool:
    if run([*pip, "uv"], check=False).returncode != 0:
        return False
    listed = run([python, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True).stdout
    command = [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", python, "-c", _CONSTRAINTS, *wanted]
    return run(command, check=False, env=os.environ | uv_settings(listed, os.environ)).returncode == 0


def uv_settings(listed: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Turn the output of `pip config list` into uv's variables; those that are set already stay.

    >>> uv_settings("global.index-url='https://example.org/simple'", {})
    {'UV_DEFAULT_INDEX': 'https://example.org/simple'}
    """
    found: dict[tuple[str, str], str] = {}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        section, dot, setting = name.rpartition(".")
        setting = _SAME.get(setting, setting)
        if equals and dot and setting in _HANDED_OVER:
            # pip writes a value as Python does, with line ends escaped.
            found[section, setting] = str(ast.literal_eval(value.strip()))
    settings = {}
    for setting, (variable, separator) in _HANDED_OVER.items():
        values = [found[section, setting] for section in _SECTIONS if (section, setting) in found]
        if values and variable not in environment:
            settings[variable] = separator.join(values[0].split())
    if "UV_INDEX" in settings:
        # pip trusts all its indexes alike; uv would take a package from the first that has any version of it.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    install(Path(sys.argv[1]), sys.argv[2], _say)
