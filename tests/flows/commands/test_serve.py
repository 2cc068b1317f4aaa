"""`ddpm serve` refuses what it cannot do; what it serves is in tests/e2e/test_serve.py and test_serve_recipe.py."""

import pytest

from flows.cli import run_command
from flows.commands.serve import _recipes, _warning, registered
from flows.recipe.presets.table import PRESETS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "0"], "--port"),
        (["--port", "70000"], "--port"),
        (["--limit", "0"], "--limit"),
        (["digit"], "no such preset: digit - did you mean digits?"),
        (["--set", "train.imags=5"], "train.imags: no such setting - did you mean images?"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: cannot be read"),
        (["digits", "--name", "a/b"], "--name: must be up to 64 letters"),
        (["--cron", "0 3 * * *"], "--cron: needs one recipe, and every preset is served - name the preset"),
        (["--stages"], "--stages: needs one recipe, and every preset is served - name the preset"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert run_command(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1


def test_which_recipes_are_served() -> None:
    def names(preset: str, *settings: str, name: str = "", stages: bool = False) -> list[str]:
        return [one.name for one in _recipes(preset, None, settings, name, stages=stages, cron="")]

    assert names("") == list(PRESETS)
    assert names("folder") == ["folder"]
    assert names("", "train.images=5") == ["digits-train.images=5"]
    assert names("digits", name="mine") == ["mine"]
    assert names("digits", stages=True) == ["digits", "digits-prepare", "digits-train", "digits-sample"]


def test_a_setting_without_effect_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _recipes("digits", None, ["train.min_snr_gamma=3"], "", stages=False, cron="")
    assert "train.min_snr_gamma has no effect" in capsys.readouterr().err


def test_what_becomes_reachable_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    open_to_all = _warning("0.0.0.0", 4200)
    assert "port 4200 is open at 0.0.0.0" in open_to_all
    assert "for everybody who reaches it; PREFECT_SERVER_API_AUTH_STRING=user:password asks for a key" in open_to_all
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:secret")
    assert "for those who have the key" in _warning("0.0.0.0", 4200)
    assert "secret" not in _warning("0.0.0.0", 4200)


def test_one_function_registers_them_all() -> None:
    """`ddpm up` serves the presets by it, with no more than a root."""
    assert registered.__defaults__ == (None, None, ())
