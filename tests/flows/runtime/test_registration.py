"""Runs that register their networks, on a real MLflow store: versions, the champion, and networks by its address."""

from pathlib import Path
from typing import Any

import pytest
import torch

from flows.cli import run_command
from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config
from flows.run import open_run
from flows.runtime.runner import run_stage
from flows.snapshot import load_snapshot
from flows.stages.evaluate.stage import EVALUATE
from infra.errors import InputError, IntegrityError
from infra.tracking.gate import tagged_figures
from tests.conftest import TinyRun
from tests.flows.sessions import Page, client_of, put_images, run_settings, run_whole, small, tracked_runs
from tests.tiny import TINY

BOUND = "bits_per_dim_fixed_large"


def versions(root: Path, name: str = "net") -> list[Any]:
    found = client_of(root).search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def champion(root: Path) -> str:
    return str(client_of(root).get_registered_model("net").aliases["champion"])


def test_a_better_network_takes_the_title_and_others_say_why_not(root: Path, tmp_path: Path) -> None:
    """An untrained network, one that trained, and the untrained one with another seed."""
    folder = put_images(tmp_path / "images", range(200))
    lines, champions = [], []
    for settings in (
        ("train.images=16", "train.batch_size=16"),
        ("train.images=6400", "train.learning_rate=2e-3"),
        ("train.images=16", "train.batch_size=16", "train.seed=1"),
    ):
        page = Page()
        run_whole(small(folder, "evaluate.bpd_images=16", *settings), root, page, register_as="net")
        lines += [line for line in page.lines if line.startswith("registry ")]
        champions.append([address for address, _ in page.champions])
        assert lines[-1].removeprefix("registry ") in page.pages["result"]
    assert lines[0] == "registry champion of net: version 1, the first"
    assert lines[1].startswith("registry champion of net: version 2 (was 1): bits_per_dim_fixed_large ")
    assert " below " in lines[1]
    assert lines[2].startswith("registry champion of net stays version 2; version 3 does not replace it: bits_per_dim_")
    assert champion(root) == "2"
    assert champions == [["models:/net/1"], ["models:/net/2"], []]


@pytest.fixture
def root(sealed_root: Path) -> Path:
    """With the tiny run's outputs, so that its registration trains nothing."""
    return sealed_root


@pytest.fixture
def registered(root: Path, tiny: PipelineConfig) -> str:
    """The name of a run that was registered."""
    return run_whole(tiny, root, register_as="net").name


def test_the_models_page_has_figures_settings_and_the_version(root: Path, registered: str) -> None:
    client, run = client_of(root), open_run(registered, root)
    (version,) = versions(root)
    model = client.get_logged_model(version.tags["ddpm.model_id"])
    metrics = {metric.key: metric.value for metric in model.metrics}
    assert metrics == run.figures.metrics
    assert f"eval/{BOUND}_stderr" in metrics
    assert {metric.dataset_digest for metric in model.metrics} == {run.dataset.digest[:36]}
    settings = {name: str(value) for name, value in run.settings.items() if name.startswith(("prepare.", "train."))}
    assert model.params == settings
    assert model.tags["mlflow.modelVersions"] == '[{"name": "net", "version": 1}]'
    (unit,) = run.manifests["train"].units
    file = f"{root}/{run.manifests['train'].folder}/{unit['file']}"
    assert (version.tags["ddpm.uri"], version.tags["ddpm.sha256"]) == (file, unit["sha256"])
    assert version.tags["ddpm.run"] == registered
    parent = tracked_runs(root, "pipeline")[registered]
    assert version.run_id == parent.info.run_id
    assert parent.data.tags["ddpm.registered"] == "models:/net/1"
    assert parent.data.tags["ddpm.gate"] == version.tags["ddpm.gate"] == "champion of net: version 1, the first"
    evaluated = client.get_run(tracked_runs(root, "evaluate")[f"evaluate {registered}"].info.run_id)
    assert [one.model_id for one in evaluated.inputs.model_inputs] == [model.model_id]
    assert model.source_run_id == tracked_runs(root, "train")[f"train {registered}"].info.run_id
    assert {figure.name for figure in tagged_figures(version.tags)} == {
        figure.name for figure in run.figures.figures if figure.headline
    }


def test_a_sealed_run_registers_nothing_twice(root: Path, tiny: PipelineConfig, registered: str) -> None:
    (before,) = versions(root)
    page = Page()
    run_whole(tiny, root, page, register_as="net")
    (after,) = versions(root)
    assert (after.version, after.creation_timestamp) == (before.version, before.creation_timestamp)
    assert "registry champion of net: version 1, as before" in page.lines
    model = client_of(root).get_logged_model(after.tags["ddpm.model_id"])
    assert len({metric.key for metric in model.metrics}) == len(model.metrics)


def test_a_run_that_was_tracked_before_can_be_registered_later(root: Path, tiny: PipelineConfig) -> None:
    run_whole(tiny, root)
    assert client_of(root).search_registered_models() == []
    run_whole(tiny, root, register_as="net", champion_by=BOUND)
    assert champion(root) == "1"


def test_a_server_that_is_away_costs_a_line_and_the_same_command_registers(
    root: Path, tiny: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.tracking.registry import ModelRegistry

    def away(*_: object) -> None:
        raise OSError("the registry is away")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "register", away)
        page = Page()
        run_whole(tiny, root, page, register_as="net")
    complaint = "did not take registration (the registry is away)"
    assert any(line.startswith("tracking ") and complaint in line for line in page.lines)
    assert not any(line.startswith("registry ") for line in page.lines)
    run_whole(tiny, root, register_as="net")
    assert champion(root) == "1"


def test_a_registered_network_loads_by_its_address(
    root: Path, registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_run(registered, root).network().network.state_dict()
    champion, version = "models:/net@champion", "models:/net/1"
    for address in (champion, version):
        given = load_snapshot(address, root=str(root)).network.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in given.items())
    monkeypatch.setenv("DDPM_ROOT", str(root))
    assert run_command(["export", champion, str(tmp_path / "exported")]) == 0
    monkeypatch.delenv("DDPM_ROOT")
    assert run_command(["export", version, str(tmp_path / "by root"), "--root", str(root)]) == 0
    file = Path("unet", "diffusion_pytorch_model.safetensors")
    assert (tmp_path / "exported" / file).read_bytes() == (tmp_path / "by root" / file).read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    assert load_snapshot(champion, root="/elsewhere").schedule.num_timesteps == 20


def test_a_file_that_is_gone_or_changed_is_one_line(
    root: Path, registered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (version,) = versions(root)
    file = Path(version.tags["ddpm.uri"])
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"differs from the digest that models:/net/1 was registered with"):
        load_snapshot("models:/net@champion", root=str(root))
    capsys.readouterr()
    arguments = ["export", "models:/net@champion", str(tmp_path / "exported"), "--root", str(root)]
    assert run_command(arguments) == 6
    file.unlink()
    with pytest.raises(InputError, match=r"^models:/net@champion: the snapshot of models:/net/1, /.*cannot be read"):
        load_snapshot("models:/net@champion", root=str(root))
    assert run_command(arguments) == 3
    assert capsys.readouterr().err.count("\n") == 2
    assert run_command([*arguments[:1], "models:/none@champion", *arguments[2:]]) == 3
    assert "choose another --root" in capsys.readouterr().err


def test_a_stage_by_itself_registers_too(tiny_run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    """As a job on a cluster does, which runs no report."""
    inputs = (tiny_run.dataset, tiny_run.snapshot, tiny_run.samples)
    run_stage(EVALUATE, run_settings(tiny_run.root, register_as="net"), tiny_run.config.evaluate, *inputs)
    assert "registry  champion of net: version 1, the first\n" in capsys.readouterr().out
    assert champion(tiny_run.root) == "1"


def test_options_that_contradict_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = ["--root", str(tmp_path / "root"), "--in-process"]
    for arguments, line in (
        (["run", "--no-tracking", "--register-as", "net", *root], "register_as needs tracking"),
        (["run", "--champion-by", "fid", *root], "champion_by needs register_as"),
        (["train", "--register-as", "net", *root], "--register-as: train measures no network"),
        (["run", "--register-as", "a/b", *root], "register_as: string should match pattern"),
    ):
        assert run_command(arguments) == 2
        err = capsys.readouterr().err
        assert line in err
        assert err.count("\n") == 1
    assert not (tmp_path / "root").exists()


def test_conditions_tell_unlike_runs_apart(root: Path, tiny: PipelineConfig) -> None:
    """The same network, measured with other images, settings and features."""
    run_whole(tiny, root, register_as="net")
    more = load_config("digits", None, [*TINY, "train.seed=1", "evaluate.bpd_images=8"])
    page = Page()
    run_whole(more, root, page, register_as="net")
    (line,) = [line for line in page.lines if line.startswith("registry ")]
    assert line.endswith(f"the champion's {BOUND} is unlike: held-out images 8 here and 16 there")
