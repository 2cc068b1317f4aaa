"""Parameters that cannot work are refused in one line before anything is made, read, asked or started."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from flows import pipeline
from flows.recipe.config import PipelineConfig
from infra.errors import ConfigError

SECRET = "cAnArY/SeCrEt"
LARGE = "x" * 600 * 1024
FIELDS = [
    (stage, name)
    for stage in PipelineConfig.model_fields
    for name in type(getattr(PipelineConfig(), stage)).model_fields
]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((f"{stage}.{name}", {stage: {name: {"no": "value"}}}) for stage, name in FIELDS),
    *((f"{stage}.unknwon", {stage: {"unknwon": 1}}) for stage in (*PipelineConfig.model_fields, "run")),
    *((f"{stage} is no group", {stage: 5}) for stage in (*PipelineConfig.model_fields, "run")),
    ("an unknown parameter", {"unknwon": 1}),
    ("an unknown recipe", {"preset": "unknwon"}),
    ("an unknown stage to end with", {"until": "unknwon"}),
    ("a recipe that is no group", {"recipe": 5}),
    ("an unknown setting of a recipe", {"recipe": {"train": {"unknwon": 1}}}),
    ("another type of recipe", {"preset": ["digits"]}),
    ("a name with a newline", {"name": "a\nb"}),
    ("a large name", {"name": LARGE}),
    ("a large root", {"root": LARGE}),
    ("a large recipe", {"preset": LARGE}),
    ("a large choice", {"sampler": LARGE}),
    ("a large group", {"train": {LARGE: 1}}),
    ("a large parameter", {LARGE: 1}),
    ("a secret in the root", {"root": f"s3://AKIA:{SECRET}@bucket/x"}),
    ("a secret in a query", {"root": f"s3://bucket/x?secret_key={SECRET}"}),
    ("a secret in a source", {"preset": "folder", "source": f"s3://AKIA:{SECRET}@bucket/x"}),
    ("a secret in a network", {"train": {"initial": f"https://user:{SECRET}@host/n.safetensors"}}),
    ("settings against each other", {"sampler": "ode", "train": {"zero_terminal_snr": True, "parameterisation": "v"}}),
    ("a value twice", {"images": 5, "train": {"images": 6}}),
]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("parameters", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_nothing_happens_before_it_is_refused(
    parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("nothing is asked")

    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("DDPM_ROOT", raising=False)
    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.chdir(work)
    before = dict(os.environ)
    with pytest.raises(ConfigError) as caught:
        pipeline._run({"root": str(tmp_path / "root")} | parameters, None)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 2000
    assert SECRET not in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "work"]
    assert os.environ == before
