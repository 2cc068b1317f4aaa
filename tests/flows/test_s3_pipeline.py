"""The stages on an S3 root: the bytes of a local one, tracked beside, and no secret anywhere."""

from pathlib import Path

import pytest

from flows.cli import run_command
from flows.root import local_folder
from infra.storage.open import open_store
from infra.storage.store import Store
from tests.e2e.processes import settings
from tests.servers import BUCKET, SECRET_KEY, Server
from tests.tiny import TINY

ROOT = f"s3://{BUCKET}/in/process"
SMALL = (*TINY, "train.images=640", "train.num_timesteps=10", "sample.count=8", "evaluate.bpd_images=2")
# The folders of what a run seals.
OUTPUTS = {
    *("prepare", "train", "sample", "evaluate", "bound", "features", "statistics"),
}
REGISTER = ["--register-as", "net"]
ARGUMENTS = ["evaluate", "digits", *settings(*SMALL), "--in-process"]


def sealed(store: Store) -> dict[str, bytes]:
    """Every byte of the sealed outputs and their manifests; history, progress and plans left out."""
    return {name: store.read(name) for name in store.list(".") if "/units/" in name or "/snapshots/" in name}


@pytest.fixture
def _at_moto(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_at_moto")
def test_a_run_on_s3_gives_the_bytes_of_a_local_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run_command([*ARGUMENTS, "--root", ROOT, *REGISTER]) == 0
    said = capsys.readouterr().out
    assert f"report    {ROOT}/reports/" in said
    assert f"served by mlflow ui --backend-store-uri sqlite:///{tmp_path / 'state'}" in said
    assert "  note    on this machine only" in said
    assert "registry  champion of net: version 1, the first" in said
    assert run_command(["export", "models:/net@champion", str(tmp_path / "exported"), "--root", ROOT]) == 0
    assert (local_folder(ROOT) / "mlflow.db").is_file()
    assert run_command([*ARGUMENTS, "--root", str(tmp_path / "local"), "--no-tracking"]) == 0
    assert "on this machine" not in capsys.readouterr().out
    there, here = open_store(ROOT), open_store(str(tmp_path / "local"))
    assert sealed(there) == sealed(here)
    assert len(sealed(here)) > 20

    capsys.readouterr()
    assert run_command([*ARGUMENTS, "--root", ROOT]) == 0
    assert capsys.readouterr().out.count("found sealed") == 4
    assert run_command(["verify", ROOT]) == 0
    assert run_command(["verify", str(tmp_path / "local")]) == 0
    lines = capsys.readouterr().out.splitlines()
    half = len(lines) // 2
    assert lines[:half] == lines[half:]
    assert {line.split()[1].partition("/")[0] for line in lines} == OUTPUTS
    # Points along training are sealed too.
    trained = [line for line in lines[:half] if line.split()[1].startswith("train/")]
    for part in ("/train", f"/{trained[0].split()[1].partition('/manifests')[0]}"):
        assert run_command(["verify", ROOT + part]) == 0
        assert capsys.readouterr().out.splitlines() == trained
    (name,) = {name.split("/")[1] for name in there.list("reports")}
    assert run_command(["report", name, "--root", ROOT]) == 0
    assert capsys.readouterr().out == f"{ROOT}/reports/{name}/report.html\n"
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert SECRET_KEY.encode() not in file.read_bytes(), file
    assert not any(SECRET_KEY.encode() in there.read(name) for name in there.list("."))


@pytest.mark.usefixtures("_at_moto")
def test_what_is_no_root_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", f"s3://{BUCKET}/nothing/here"]) == 3
    assert run_command([*ARGUMENTS, "--root", "s3://no-such-bucket/x"]) == 2
    assert run_command([*ARGUMENTS, "--root", f"s3://key:{SECRET_KEY}@{BUCKET}/x"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 3
    assert "no such bucket" in err
    assert SECRET_KEY not in err
