"""`ddpm export` and `ddpm import`: one line when done, one line and an exit code when refused."""

from pathlib import Path

import pytest

from flows.cli import run_command
from tests.flows.exchange.diffusers_folders import change, settings, write_snapshot


def test_export_and_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snapshot(tmp_path / "a.safetensors", num_classes=4)
    snapshot, folder, back = (str(tmp_path / name) for name in ("a.safetensors", "folder", "b.safetensors"))
    about = "3x8x8, 4 classes (guidance takes the last for no label), T = 20, fixed_small variance"
    assert run_command(["export", snapshot, folder, "--variance", "fixed_small"]) == 0
    assert capsys.readouterr().out == f"{folder}  {about}\n"
    assert settings(tmp_path / "folder", "scheduler")["variance_type"] == "fixed_small"
    assert run_command(["import", folder, back]) == 0
    assert capsys.readouterr().out == f"{back}  {about}\n"
    assert Path(back).read_bytes() == Path(snapshot).read_bytes()

    assert run_command(["export", snapshot, folder]) == 2
    assert capsys.readouterr().err == f"ddpm: {folder}: is there already - choose another name, or remove it\n"


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snapshot(tmp_path / "a")
    folder, new = tmp_path / "folder", str(tmp_path / "new")
    assert run_command(["export", str(tmp_path / "a"), str(folder)]) == 0
    capsys.readouterr()
    change(folder, "unet", act_fn="gelu")
    (tmp_path / "text").write_text("text")
    for arguments, code, line in (
        (["import", str(folder), new], 2, f'{folder}/unet/config.json: act_fn is "gelu"; we can represent "silu" only'),
        (["import", new, str(tmp_path / "b")], 3, f"{new}: is not a folder - download the pipeline, then give its"),
        (["export", str(tmp_path / "none"), new], 3, f"{tmp_path}/none: cannot be read (No such file or directory)"),
        (["export", str(tmp_path / "text"), new], 6, f"{tmp_path}/text: is not a safetensors file of ours"),
        (["export", str(tmp_path / "a"), new, "--variance", "learned"], 2, "Invalid value for '--variance'"),
        (["import", str(folder)], 2, "Missing argument"),
    ):
        assert run_command(arguments) == code
        err = capsys.readouterr().err
        assert err.startswith(f"ddpm: {line}")
        assert err.count("\n") == 1
    assert not Path(new).exists()


@pytest.mark.parametrize("command", ["export", "import"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([command, "--help"]) == 0
    assert f"ddpm {command}" in capsys.readouterr().out
