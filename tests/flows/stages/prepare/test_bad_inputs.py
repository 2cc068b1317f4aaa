"""Every bad input gives one line that names the thing, the right exit code, and leaves nothing half-made."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from flows.cli import run_command
from tests.flows.stages.prepare.command import CONFIG, CONFLICT, INPUT, INTEGRITY, assert_one_line, run

SETTINGS = {
    "unknown preset": (["cifar11"], "no such preset: cifar11"),
    "misspelt preset": (["digit"], "did you mean digits?"),
    "unknown stage": (["digits", "--set", "trian.images=5"], "did you mean train?"),
    "unknown setting": (["digits", "--set", "train.imags=5"], "did you mean images?"),
    "setting without a value": (["digits", "--set", "train.images"], "not of the form stage.setting=value"),
    "setting without a stage": (["digits", "--set", "images=5"], "no such stage"),
    "whole stage as a setting": (["digits", "--set", "train=5"], "no such setting"),
    "deeper path": (["digits", "--set", "train.images.count=5"], "no such setting"),
    "text for a number": (["digits", "--set", "train.images=many"], "train.images"),
    "fraction for a count": (["digits", "--set", "train.images=1.5"], "train.images"),
    "null": (["digits", "--set", "train.images=null"], "train.images"),
    "zero images": (["digits", "--set", "train.images=0"], "greater than or equal to 1; got 0"),
    "negative rate": (["digits", "--set", "train.learning_rate=-1"], "train.learning_rate"),
    "rate NaN": (["digits", "--set", "train.learning_rate=NaN"], "train.learning_rate"),
    "rate infinite": (["digits", "--set", "train.learning_rate=Infinity"], "train.learning_rate"),
    "batch of none": (["digits", "--set", "train.batch_size=0"], "train.batch_size"),
    "unknown schedule": (["digits", "--set", "train.schedule=sigmoidal"], "train.schedule"),
    "a chain too short for its betas": (
        ["digits", "--set", "train.schedule=scaled_linear", "--set", "train.num_timesteps=20"],
        "take more timesteps or smaller betas",
    ),
    "unknown sampler": (["digits", "--set", "sample.sampler=euler"], "sample.sampler"),
    "eta above 1": (["digits", "--set", "sample.eta=1.5"], "sample.eta"),
    "eta without ddim": (["digits", "--set", "sample.eta=0.5"], "set sample.sampler=ddim"),
    "unknown variance": (["digits", "--set", "sample.variance=learned"], "sample.variance"),
    "unknown extractor": (["digits", "--set", "evaluate.extractor=vgg"], "evaluate.extractor"),
    "inception without its file": (
        ["digits", "--set", "evaluate.extractor=inception"],
        "set evaluate.extractor_weights to pt_inception-2015-12-05-6726825d.pth from github.com/mseitzer/pytorch-fid",
    ),
    "dinov2 without its file": (
        ["digits", "--set", "evaluate.extractor=dinov2"],
        "set evaluate.extractor_weights to dinov2_vitl14_pretrain.pth from dl.fbaipublicfiles.com/dinov2",
    ),
    "a program without its digest": (
        ["digits", "--set", "evaluate.extractor=program", "--set", "evaluate.extractor_weights=w.pt"],
        "state the file's sha256 by evaluate.extractor_sha256",
    ),
    "unknown dtype": (["digits", "--set", "train.dtype=float8"], "train.dtype"),
    "unknown device": (["digits", "--set", "train.device=tpu"], "train.device"),
    "unknown kind": (["digits", "--set", "prepare.kind=rar"], "prepare.kind"),
    "beta above 1": (["digits", "--set", "train.beta_end=1.5"], "train.beta_end"),
    "chain of one": (["digits", "--set", "train.num_timesteps=1"], "train.num_timesteps"),
    "more steps than T": (["digits", "--set", "sample.num_steps=1001"], "at most train.num_timesteps (1000); got 1001"),
    "respaced to one step": (["digits", "--set", "sample.num_steps=1"], "sample.num_steps"),
    "two channels": (["digits", "--set", "prepare.channels=2"], "prepare.channels"),
    "size not divisible": (["digits", "--set", "prepare.image_size=9"], "image_size must be divisible by 2"),
    "attention at no level": (["digits", "--set", "train.attention_resolutions=[5]"], "among the sizes [8, 4]"),
    "groups do not divide": (["digits", "--set", "train.norm_groups=7"], "norm_groups must divide base_channels"),
    "odd channels": (["digits", "--set", "train.base_channels=25"], "base_channels must be even"),
    "no levels": (["digits", "--set", "train.channel_mults=[]"], "train.channel_mults"),
    "mults not a list": (["digits", "--set", "train.channel_mults=2"], "train.channel_mults"),
    "dropout of 1": (["digits", "--set", "train.dropout=1"], "train.dropout"),
    "negative seed": (["digits", "--set", "sample.seed=-1"], "sample.seed"),
    "seed too large": (["digits", "--set", "sample.seed=99999999999999999999"], "sample.seed"),
    "negative workers": (["digits", "--set", "sample.workers=-1"], "sample.workers"),
    "more workers than batch": (
        ["digits", "--set", "train.workers=200", "--set", "train.batch_size=128"],
        "at most train.batch_size (128); got 200",
    ),
    "unknown filter": (["digits", "--set", "prepare.resize_filter=hamming"], "prepare.resize_filter"),
    "unknown way with bad images": (["digits", "--set", "prepare.on_bad_image=skip"], "prepare.on_bad_image"),
    "more bad images than all": (["digits", "--set", "prepare.max_bad_fraction=1.5"], "prepare.max_bad_fraction"),
    "a negative side": (["digits", "--set", "prepare.min_side=-1"], "prepare.min_side"),
    "an empty source in a list": (["folder", "--set", 'prepare.source=["/a", ""]'], "paths of 1 to 4096"),
    "neither a share nor a count": (["digits", "--set", "prepare.holdout=1.5"], "prepare.holdout: must be a share"),
    "the old name of the hold-out": (
        ["digits", "--set", "prepare.holdout_fraction=0.2"],
        "prepare.holdout_fraction: has another name now - it is called prepare.holdout",
    ),
    "source for the digits": (["digits", "--set", "prepare.source=/tmp"], "must be empty for the digits"),
    "a sample of one": (["digits", "--set", "sample.count=1"], "sample.count"),
    "nested brackets": (["digits", "--set", "train.images=" + "[" * 100_000], "train.images"),
    "an option that is not": (["digits", "--iamges", "5"], "No such option"),
    "two presets": (["digits", "folder"], "unexpected extra argument"),
    "config missing": (["digits", "--config", "/nonexistent/x.toml"], "cannot be read"),
}


@pytest.mark.parametrize(("arguments", "says"), SETTINGS.values(), ids=SETTINGS.keys())
def test_bad_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    root = tmp_path / "root"
    assert run(root, "evaluate", *arguments) == CONFIG
    assert_one_line(capsys, says)
    assert not root.exists()


CONFIG_FILES = {
    "broken TOML": ("x.toml", "train = [", "cannot be parsed"),
    "broken JSON": ("x.json", "{", "cannot be parsed"),
    "a JSON list": ("x.json", "[1]", "must hold tables"),
    "a stage that is a number": ("x.toml", "train = 1", "must be a table"),
    "unknown stage": ("x.toml", "[tarin]\nimages = 1", "no such stage"),
    "unknown setting": ("x.toml", "[train]\nimage = 1", "no such setting"),
    "another ending": ("x.yaml", "train: {}", "must end in .toml or .json"),
    "deeply nested JSON": ("x.json", "[" * 100_000, "cannot be parsed"),
}


@pytest.mark.parametrize(("name", "text", "says"), CONFIG_FILES.values(), ids=CONFIG_FILES.keys())
def test_bad_config_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, says: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    root = tmp_path / "root"
    assert run(root, "evaluate", "digits", "--config", str(file)) == CONFIG
    assert_one_line(capsys, says)
    assert not root.exists()


def test_config_file_that_is_not_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xff\xfe\x00")
    assert run(tmp_path / "root", "evaluate", "digits", "--config", str(file)) == CONFIG
    assert_one_line(capsys, "cannot be parsed")


def test_idx_files_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "idx").mkdir()
    assert run(tmp_path / "root", "prepare", "fashion-mnist", "--set", f"prepare.source={tmp_path / 'idx'}") == INPUT
    assert_one_line(capsys, "holds no idx file of images, such as train-images-idx3-ubyte[.gz] - set prepare.source to")


@pytest.mark.parametrize("root", ["ddpm-runs", "a/b/runs", "."])
def test_outputs_inside_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str], root: str) -> None:
    """Pictures that a run draws would be images of the next."""
    assert run(tmp_path / root, "prepare", "folder", "--set", f"prepare.source={tmp_path}") == CONFIG
    assert_one_line(capsys, "inside prepare.source - choose another --root")
    assert not list(tmp_path.iterdir()), "the images' folder is as it was"


def test_classifier_features_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(60):
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    settings = {
        "prepare.source": str(folder),
        "prepare.image_size": 8,
        "prepare.holdout": 0.3,
        "prepare.channels": 1,
        "train.images": 64,
        "train.batch_size": 64,
        "train.num_timesteps": 20,
        "train.beta_end": 0.3,
        "train.base_channels": 8,
        "train.norm_groups": 4,
        "train.channel_mults": [1],
        "train.attention_resolutions": [],
        "sample.count": 8,
        "sample.batch_size": 8,
        "evaluate.extractor": "classifier",
    }
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={_text(value)}")]
    assert run(tmp_path / "root", "evaluate", "folder", *given) == CONFIG
    assert_one_line(capsys, "fewer than two classes")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


ROOTS = {
    "an unknown scheme": ("gs://bucket/x", CONFIG, "only local folders"),
    "no bucket's name": ("s3://Not_A_Bucket/x", CONFIG, "not a valid bucket name"),
    "a URI with a password": ("s3://key:secret@bucket/x", CONFIG, "has a user name or a password"),
    "a file": ("/dev/null", CONFIG, "choose another --root"),
    "below a file": ("/dev/null/x", CONFIG, "choose another --root"),
}


@pytest.mark.parametrize(("root", "code", "says"), ROOTS.values(), ids=ROOTS.keys())
def test_bad_roots(capsys: pytest.CaptureFixture[str], root: str, code: int, says: str) -> None:
    assert run_command(["prepare", "digits", "--root", root, "--in-process", "--no-tracking"]) == code
    assert_one_line(capsys, says)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_root_that_may_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert run(tmp_path / "root", "prepare", "digits") == CONFIG
    assert_one_line(capsys, "not allowed")


def test_ray_client_addresses_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    assert run_command(["prepare", "digits", "--root", str(tmp_path)]) == CONFIG
    assert_one_line(capsys, "Ray Client")


def test_a_prefect_server_that_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert run_command(["run", "digits", "--root", str(tmp_path)]) == 4
    assert_one_line(capsys, "no Prefect server answers")


def test_verify_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(tmp_path / "gone")]) == INPUT
    assert_one_line(capsys, "is not a folder")
    assert run_command(["verify", str(tmp_path)]) == INPUT
    assert_one_line(capsys, "holds no sealed output")


def test_report_of_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", "nothing", "--root", str(tmp_path)]) == INPUT
    assert_one_line(capsys, "no finished run")


def test_a_damaged_unit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    assert run(root, "prepare", "digits") == 0
    unit = next((root / "prepare").rglob("*.parquet"))
    data = bytearray(unit.read_bytes())
    data[len(data) // 2] ^= 1
    unit.write_bytes(data)
    capsys.readouterr()
    assert run_command(["verify", str(root)]) == INTEGRITY
    assert_one_line(capsys, unit.name)


def test_an_output_begun_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    assert run(root, "prepare", "digits") == 0
    (manifest,) = (root / "prepare").rglob("manifests/all.json")
    manifest.unlink()
    environment = manifest.parents[1] / "environment.json"
    other = json.loads(environment.read_text()) | {"numpy": "1.0"}
    environment.write_text(json.dumps(other))
    capsys.readouterr()
    assert run(root, "prepare", "digits", "--strict-environment") == CONFLICT
    assert_one_line(capsys, "numpy: 1.0 there")
    assert run(root, "prepare", "digits") == 0
    assert "goes on in another environment (numpy: 1.0 there" in capsys.readouterr().out.replace("\n", " ")
    assert run(root, "prepare", "digits", "--strict-environment") == 0
    assert "found sealed" in capsys.readouterr().out
