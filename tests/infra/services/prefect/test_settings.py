"""Prefect's settings name the API from wherever they are, and variables that we set are taken back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.services.prefect.settings import _has_settings_files, environment_variables
from tests.infra.services.prefect.conftest import Serving

# In a process of its own, since Prefect reads its settings once.
NAMED = (
    "import sys; from infra.services.prefect.settings import named_by_settings; print(named_by_settings(), "
    "'prefect.settings' in sys.modules)"
)


def test_settings_name_the_api_from_wherever_they_are(no_settings: Path, serving: Serving) -> None:
    """A profile, prefect.toml, .env and pyproject.toml: each leads there, and other contents cost no import."""
    url = serving.api.url
    files = {
        "profile": {"home/profiles.toml": f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n'},
        "toml": {"prefect.toml": f'[api]\nurl = "{url}"\n'},
        "env": {".env": f"OTHER=1\nPREFECT_API_URL={url}\n"},
        "project": {"pyproject.toml": f'[tool.prefect.api]\nurl = "{url}"\n'},
        "none": {".env": "OTHER=1\n", "pyproject.toml": '[project]\ndependencies = ["prefect>=3"]\n'},
        "broken": {"pyproject.toml": "[tool.prefect\n"},
    }
    # A folder whose own path says Prefect decides nothing.
    asked = {}
    for name, contents in files.items():
        folder = no_settings / f"prefect-{name}"
        for file, text in contents.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        more = {"PREFECT_HOME": str(folder / "home")} if name == "profile" else {}
        environment = os.environ | more | {"PYTHONPATH": str(Path(__file__).parents[4])}
        command = [sys.executable, "-c", NAMED]
        asked[name] = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    found = {name: process.communicate(timeout=60)[0].strip() for name, process in asked.items()}
    named = {name: f"{url} True" for name in ("profile", "toml", "env", "project")}
    assert found == named | {"none": "False", "broken": "False"}


def test_a_profile_of_that_name_is_asked_for(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _has_settings_files()
    monkeypatch.setenv("PREFECT_PROFILE", "local")
    assert _has_settings_files()


def test_variables_of_ours_give_way_to_the_users_and_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_TEST_MINE", "mine")
    monkeypatch.delenv("DDPM_TEST_OURS", raising=False)
    with environment_variables({"DDPM_TEST_MINE": "ours", "DDPM_TEST_OURS": "ours"}):
        assert (os.environ["DDPM_TEST_MINE"], os.environ["DDPM_TEST_OURS"]) == ("mine", "ours")
    assert os.environ["DDPM_TEST_MINE"] == "mine"
    assert "DDPM_TEST_OURS" not in os.environ
