"""`ddpm run` as a user runs it: once, again, and with something changed."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.e2e.processes import Command, digests, settings
from tests.tiny import TINY

ARGUMENTS = ["run", "digits", *settings(*TINY)]
SEALED = re.compile(r"^ +(\w+) .*; found sealed; ", re.MULTILINE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    first = Command([*ARGUMENTS, "--root", str(folder / "root"), "--in-process"], folder / "log")
    assert first.wait() == 0, first.text()
    text = first.text()
    assert "fd_pixels" in text
    assert len(re.findall(r"bits/dim, fixed \w+ +\d+\.\d+ ± \d+\.\d+", text)) == 2
    (page,) = re.findall(r"^report +(.*report\.html)$", text, re.MULTILINE)
    assert Path(page).is_file()
    assert Path(page).with_name("samples.png").is_file()
    assert not SEALED.search(text)
    first.assert_nothing_left()
    return folder / "root"


def test_manifests_follow_their_schema(root: Path) -> None:
    schema = json.loads((Path(__file__).parents[2] / "infra" / "outputs" / "manifest.schema.json").read_text())
    manifests = list(root.glob("*/*/manifests/*.json"))
    training = [path for path in manifests if path.parts[-4] == "train"]
    assert len(manifests) - len(training) == 8, "five of them are what the figures rest on"
    assert len(training) > 1, "each point on the way is sealed as the goal of a shorter run"
    for path in manifests:
        jsonschema.validate(json.loads(path.read_text()), schema)
    damaged = json.loads(manifests[0].read_text()) | {"version": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(damaged, schema)


def test_again_finds_everything_sealed_and_starts_no_ray(root: Path, tmp_path: Path) -> None:
    before = digests(root)
    # An address where no Ray is: whoever connects fails.
    again = Command([*ARGUMENTS, "--root", str(root)], tmp_path / "log", RAY_ADDRESS="127.0.0.1:1")
    assert again.wait() == 0, again.text()
    assert SEALED.findall(again.text()) == ["prepare", "train", "sample", "evaluate"]
    assert digests(root) == before

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("ddpm").experiment_id])
    assert sorted(run.data.tags["ddpm.stage"] for run in runs) == sorted(
        ["pipeline", "prepare", "train", "sample", "evaluate"]
    )
    keys = {run.data.tags.get("ddpm.stage_key") for run in runs} - {None}
    own = {name.split("/")[1] for name in before if not name.startswith(("bound/", "features/", "statistics/"))}
    assert keys == own, "what figures rest on has no run of its own"


def test_a_changed_setting_redoes_what_depends_on_it(root: Path, tmp_path: Path) -> None:
    changed = ["--set", "sample.seed=1", "--root", str(root), "--in-process", "--no-tracking"]
    done = Command(["evaluate", *ARGUMENTS[1:], *changed], tmp_path / "log")
    assert done.wait() == 0, done.text()
    assert SEALED.findall(done.text()) == ["prepare", "train"]


def test_more_of_the_same_goes_on_from_what_is_there(root: Path, tmp_path: Path) -> None:
    units = {path.name for path in root.glob("sample/*/units/*.parquet")}
    more = ["--set", "train.images=1920", "--set", "sample.count=30", "--root", str(root), "--in-process"]
    done = Command(["evaluate", *ARGUMENTS[1:], *more, "--no-tracking"], tmp_path / "log")
    assert done.wait() == 0, done.text()
    assert SEALED.findall(done.text()) == ["prepare"]
    assert len(list(root.glob("train/*"))) == 1, "a longer run has the shorter one's key"
    assert units <= {path.name for path in root.glob("sample/*/units/*.parquet")}
