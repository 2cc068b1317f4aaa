"""Snapshots to diffusers' folders and back: equal bytes, and nothing foreign is taken for ours."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from flows.exchange.folder import export_snapshot, import_folder
from flows.snapshot import load_snapshot
from infra.errors import ConfigError, DdpmError, InputError, IntegrityError
from infra.outputs.tensors import decode_tensors, encode_tensors
from tests.flows.exchange.diffusers_folders import LINEAR, NETWORKS, WEIGHTS, alter, change, settings, write_snapshot

SCHEDULES: list[dict[str, Any]] = [
    LINEAR | {"kind": "sigmoid"},
    LINEAR | {"kind": "warmup50"},
    LINEAR | {"kind": "cosine"},
    {"kind": "quadratic", "num_timesteps": 20, "beta_start": 1e-3, "beta_end": 0.3},
    LINEAR | {"kind": "jsd"},
    LINEAR | {"zero_terminal_snr": True},
    LINEAR | {"kind": "custom", "num_timesteps": 3, "betas": [0.1, 0.3, 0.2]},
]


def there_and_back(tmp_path: Path) -> bytes:
    export_snapshot(str(tmp_path / "a"), str(tmp_path / "folder"))
    import_folder(str(tmp_path / "folder"), str(tmp_path / "b"))
    return (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_back_with_equal_bytes(name: str, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a", images_seen=123_456, **NETWORKS[name])
    assert there_and_back(tmp_path) == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["kind"])
@pytest.mark.parametrize("parameterisation", [Parameterisation.V, Parameterisation.X_START])
def test_schedules_come_back_with_equal_bytes(
    schedule: dict[str, Any], parameterisation: Parameterisation, tmp_path: Path
) -> None:
    write_snapshot(tmp_path / "a", schedule, parameterisation=parameterisation)
    assert there_and_back(tmp_path) == (tmp_path / "a").read_bytes()


def test_folders_come_back_equal(folder: Path, tmp_path: Path) -> None:
    import_folder(str(folder), str(tmp_path / "b"))
    export_snapshot(str(tmp_path / "b"), str(tmp_path / "again"))
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(files) == 5
    assert {
        path.relative_to(tmp_path / "again"): path.read_bytes()
        for path in (tmp_path / "again").rglob("*")
        if path.is_file()
    } == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "b", "folder", "folder.safetensors"]


def test_settings_changed_after_the_export_are_followed(folder: Path, tmp_path: Path) -> None:
    change(folder, "scheduler", beta_end=0.2, prediction_type="v_prediction")
    change(folder, "unet", dropout=0.375)
    import_folder(str(folder), str(tmp_path / "b"))
    network, schedule, parameterisation, _ = load_snapshot(str(tmp_path / "b"))
    assert network.config.dropout == 0.375
    assert float(schedule.betas[-1]) == pytest.approx(0.2)
    assert parameterisation is Parameterisation.V


@pytest.mark.parametrize("about", [{}, {"unet": 3}, {"unet": {}, "schedule": {}}, [1], "text"], ids=str)
def test_a_description_that_is_none_is_left_alone(folder: Path, tmp_path: Path, about: Any) -> None:
    tensors, _ = decode_tensors((folder / WEIGHTS).read_bytes(), "")
    (folder / WEIGHTS).write_bytes(encode_tensors(tensors, about))
    import_folder(str(folder), str(tmp_path / "b"))
    assert decode_tensors((tmp_path / "b").read_bytes(), "")[1]["images_seen"] == 0


def test_the_pipeline_loads_and_samples(folder: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler

    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.scheduler, DDPMScheduler)
    images = pipeline(batch_size=2, num_inference_steps=5, output_type="np").images
    assert images.shape == (2, 8, 8, 3)
    assert images.std() > 0.05


def test_a_pipeline_saved_again_is_imported(folder: Path, tmp_path: Path) -> None:
    from diffusers import DDPMPipeline

    DDPMPipeline.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    import_folder(str(tmp_path / "saved"), str(tmp_path / "b"))
    before, after = load_snapshot(f"{folder}.safetensors"), load_snapshot(str(tmp_path / "b"))
    assert after.network.config == before.network.config
    assert torch.equal(after.schedule.betas, before.schedule.betas)
    for name, weight in before.network.state_dict().items():
        assert torch.equal(weight, after.network.state_dict()[name])


def test_the_fixed_variance_is_the_callers(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a")
    export_snapshot(str(tmp_path / "a"), str(tmp_path / "small"), Variance.FIXED_SMALL)
    assert settings(tmp_path / "small", "scheduler")["variance_type"] == "fixed_small"
    assert "fixed_small" in import_folder(str(tmp_path / "small"), str(tmp_path / "b"))


def with_bias(value: Tensor) -> Callable[[Path], None]:
    return lambda folder: alter(folder, lambda tensors: tensors | {"conv_in.bias": value})


def only(name: str) -> Callable[[Path], None]:
    """The folder with its weights under another name."""
    return lambda folder: (folder / WEIGHTS).rename(folder / "unet" / name) and None


REFUSED: list[tuple[Callable[[Path], object], type[DdpmError], str]] = [
    (shutil.rmtree, InputError, "folder: is not a folder - download the pipeline"),
    (lambda f: shutil.rmtree(f / "unet"), InputError, "folder: has no unet/config.json - give a pipeline's folder"),
    (lambda f: shutil.rmtree(f / "scheduler"), InputError, "folder: has no scheduler/scheduler_config.json"),
    (only("diffusion_pytorch_model.bin"), InputError, "unet: has its weights only as a pickle, which could run code"),
    (only("diffusion_pytorch_model.safetensors.index.json"), InputError, "unet: has its weights in several files"),
    (only("other"), InputError, "unet: has no diffusion_pytorch_model.safetensors"),
    (lambda f: (f / WEIGHTS).write_bytes(b""), InputError, "safetensors: is not a safetensors file"),
    (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]), InputError, "is not a safetensors file"),
    (lambda f: (f / "unet/config.json").write_text("{"), InputError, "config.json: is not JSON"),
    (lambda f: (f / "unet/config.json").write_bytes(b"\xff\xfe\x00"), InputError, "config.json: is not JSON"),
    (lambda f: (f / "unet/config.json").write_text("[" * 100_000), InputError, "config.json: is not JSON"),
    (lambda f: (f / "unet/config.json").write_text("[1]"), InputError, "config.json: holds no settings"),
    (lambda f: (f / "scheduler/scheduler_config.json").write_text("3"), InputError, "holds no settings"),
    (lambda f: change(f, "index", _class_name="LDMPipeline"), ConfigError, 'index.json: _class_name is "LDMPipeline"'),
    (lambda f: change(f, "index", _class_name=...), ConfigError, "index.json: _class_name is null"),
    (lambda f: change(f, "unet", flip_sin_to_cos=True), ConfigError, "unet/config.json: flip_sin_to_cos is true"),
    (lambda f: change(f, "scheduler", clip_sample=False), ConfigError, "scheduler_config.json: clip_sample is false"),
    (lambda f: change(f, "scheduler", variance_type="learned_range"), ConfigError, "for a network of 3 output chann"),
    (lambda f: change(f, "unet", out_channels=6), ConfigError, "for a network of 6 output channels and 3 image channe"),
    (lambda f: alter(f, lambda w: dict(list(w.items())[1:])), InputError, "lacks tensor .*, the first of 1"),
    (lambda f: alter(f, lambda w: w | {"a": torch.ones(1)}), InputError, "has the unknown tensor a, the first of 1"),
    (
        lambda f: alter(f, lambda w: w | {"mid_block.attentions.0.query.bias": torch.ones(16)}),
        InputError,
        "has attentions under old and new names",
    ),
    (lambda f: change(f, "unet", layers_per_block=3), InputError, "lacks tensor down_blocks.0.resnets.2"),
    (lambda f: change(f, "unet", block_out_channels=[4, 8, 8]), InputError, r"is of shape \[32, 8\], not \[16, 4\]"),
    (with_bias(torch.ones(9)), InputError, r"tensor conv_in.bias is of shape \[9\], not \[8\]"),
    (with_bias(torch.ones(8, dtype=torch.int64)), InputError, "tensor conv_in.bias is of torch.int64, not of 32 or 16"),
    (with_bias(torch.ones(8, dtype=torch.float64)), InputError, "tensor conv_in.bias is of torch.float64"),
    (with_bias(torch.full((8,), torch.nan)), InputError, "tensor conv_in.bias holds numbers that are not finite"),
    (with_bias(torch.full((8,), torch.inf)), InputError, "tensor conv_in.bias holds numbers that are not finite"),
]


@pytest.mark.parametrize(("spoil", "kind", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_a_folder_that_is_none_of_ours(
    spoil: Callable[[Path], object], kind: type[DdpmError], message: str, folder: Path, tmp_path: Path
) -> None:
    spoil(folder)
    with pytest.raises(kind, match=message) as caught:
        import_folder(str(folder), str(tmp_path / "b"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    folder = str(tmp_path / "folder")
    with pytest.raises(InputError, match="cannot be read"):
        export_snapshot(str(tmp_path / "none"), folder)
    (tmp_path / "text").write_text("weights")
    with pytest.raises(IntegrityError, match="is not a safetensors file"):
        export_snapshot(str(tmp_path / "text"), folder)
    write_snapshot(tmp_path / "x_prev", parameterisation=Parameterisation.X_PREV)
    with pytest.raises(ConfigError, match="diffusers has no prediction_type for x_prev"):
        export_snapshot(str(tmp_path / "x_prev"), folder)
    with pytest.raises(ConfigError, match=r"^s3://a/b: only local files are supported"):
        export_snapshot(str(tmp_path / "x_prev"), "s3://a/b")
    assert not Path(folder).exists()


def test_a_second_export_writes_nothing(folder: Path) -> None:
    card = folder / "README.md"
    card.write_text("license: mit")  # the card is the user's to complete
    before = {file: file.stat().st_mtime_ns for file in (folder, *folder.rglob("*"))}
    line = export_snapshot(f"{folder}.safetensors", str(folder))
    assert line == "3x8x8, T = 20, fixed_large variance; already there, nothing was written"
    assert {file: file.stat().st_mtime_ns for file in (folder, *folder.rglob("*"))} == before
    with pytest.raises(ConfigError, match="is there already"):  # for it would step otherwise
        export_snapshot(f"{folder}.safetensors", str(folder), Variance.FIXED_SMALL)


@pytest.mark.parametrize("part", ["unet", "scheduler", "index"])
def test_a_folder_that_was_changed_is_not_an_export(part: str, folder: Path) -> None:
    change(folder, part, _class_name="Another")
    with pytest.raises(ConfigError, match="is there already"):
        export_snapshot(f"{folder}.safetensors", str(folder))
