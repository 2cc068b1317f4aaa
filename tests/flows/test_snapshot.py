"""A snapshot file alone gives back the network and its schedule; anything else is refused."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from ddpm_core import choices
from ddpm_core.named import named_schedule
from ddpm_core.network.unet import UNet, UNetConfig
from ddpm_core.schedule import linear_schedule
from flows.snapshot import (
    channels_last,
    decode_snapshot,
    encode_snapshot,
    load_snapshot,
    make_schedule,
)
from flows.stages.train.config import TrainConfig
from flows.stages.train.objective import schedule_settings
from infra.errors import InputError, IntegrityError
from infra.outputs.tensors import encode_tensors
from infra.storage.open import open_store
from tests.servers import BUCKET, Server

SHAPE = UNetConfig(
    image_size=8,
    in_channels=1,
    base_channels=8,
    channel_mults=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(4,),
    norm_groups=4,
    dropout=0.1,
)
SCHEDULE = {"kind": "linear", "num_timesteps": 20, "beta_start": 1e-3, "beta_end": 0.3}


@pytest.fixture(scope="module")
def network() -> UNet:
    return channels_last(UNet(SHAPE, seed=3)).eval()


@pytest.fixture(scope="module")
def data(network: UNet) -> bytes:
    return encode_snapshot(network.state_dict(), SHAPE, SCHEDULE, 640)


def test_the_file_alone_gives_the_same_function(network: UNet, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    loaded, schedule, *_ = load_snapshot(str(tmp_path / "a.safetensors"))
    x_t, t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 7, 19])
    assert torch.equal(channels_last(loaded)(x_t, t), network(x_t, t))
    assert loaded.config == SHAPE
    assert not loaded.training, "dropout is off"
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(schedule.betas, linear_schedule(20, 1e-3, 0.3).betas)


def test_equal_weights_give_equal_bytes_in_any_layout(network: UNet, data: bytes) -> None:
    plain = {name: value.contiguous() for name, value in network.state_dict().items()}
    assert encode_snapshot(plain, SHAPE, SCHEDULE, 640) == data


def test_a_config_names_its_schedule() -> None:
    for kind in choices.ScheduleKind:
        config = TrainConfig(
            schedule=kind.value, num_timesteps=30, beta_start=0.001, beta_end=0.015, parameterisation="v"
        )
        expected = named_schedule(kind, 30, 0.001, 0.015)
        assert torch.equal(make_schedule(**schedule_settings(config)).betas, expected.betas), kind
        rescaled = config.model_copy(update={"zero_terminal_snr": True})
        assert float(make_schedule(**schedule_settings(rescaled)).alphas_cumprod[-1]) == 0, kind
    with pytest.raises(ValueError, match="one of linear, scaled_linear"):
        make_schedule("sqrt", 30, 0.1, 0.2)


def test_channels_last_changes_strides_and_no_value() -> None:
    plain, turned = UNet(SHAPE, seed=1), channels_last(UNet(SHAPE, seed=1))
    for name, parameter in turned.named_parameters():
        assert torch.equal(parameter, plain.get_parameter(name))
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)


def garbage(network: UNet) -> dict[str, bytes]:
    weights = network.state_dict()
    about = {"unet": asdict(SHAPE), "schedule": SCHEDULE, "images_seen": 640}
    short = dict(list(weights.items())[1:])
    first = next(iter(weights))

    def snapshot(tensors: dict[str, torch.Tensor], **changed: object) -> bytes:
        return encode_tensors(tensors, about | changed)

    return {
        "empty": b"",
        "text": b"weights, honestly",
        "other scalars": encode_tensors(weights, {"images_seen": 3}),
        "scalars in a list": encode_tensors(weights, [1, 2]),
        "a tensor missing": snapshot(short),
        "a tensor too many": snapshot(weights | {"extra": torch.zeros(1)}),
        "a tensor of another shape": snapshot(weights | {first: torch.zeros(3)}),
        "another network": snapshot(weights, unet=asdict(SHAPE) | {"base_channels": 16}),
        "an impossible network": snapshot(weights, unet=asdict(SHAPE) | {"image_size": 7}),
        "unknown settings": snapshot(weights, unet=asdict(SHAPE) | {"depth": 3}),
        "a network in a list": snapshot(weights, unet=[1, 2]),
        "a network in a word": snapshot(weights, unet="large"),
        "no network": snapshot(weights, unet=None),
        "an unknown schedule": snapshot(weights, schedule=SCHEDULE | {"kind": "sqrt"}),
        "a schedule too short": snapshot(weights, schedule=SCHEDULE | {"num_timesteps": 1}),
        "betas out of range": snapshot(weights, schedule=SCHEDULE | {"beta_end": 1.5}),
        "no schedule": snapshot(weights, schedule=None),
    }


@pytest.mark.parametrize("kind", garbage(UNet(SHAPE)))
def test_garbage_is_refused(network: UNet, kind: str, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(garbage(network)[kind])
    with pytest.raises(IntegrityError) as caught:
        load_snapshot(str(tmp_path / "bad.safetensors"))
    assert caught.value.exit_code == 6
    assert caught.value.item == str(tmp_path / "bad.safetensors")
    assert "\n" not in str(caught.value)


def test_every_cut_is_refused(data: bytes) -> None:
    for length in (0, 1, 8, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(IntegrityError):
            decode_snapshot(data[:length], "cut")


@pytest.mark.parametrize("uri", ["/no/such/file", "/", "file:///no/such/file", "gopher://host/file"])
def test_a_file_that_cannot_be_read(uri: str) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        load_snapshot(uri)
    assert caught.value.exit_code == 3


def test_a_snapshot_on_s3(data: bytes, network: UNet, moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    folder = f"s3://{BUCKET}/snapshots"
    open_store(folder).replace("a.safetensors", data)
    open_store(folder).replace("bad.safetensors", data[:-1])
    loaded = load_snapshot(f"{folder}/a.safetensors").network
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(IntegrityError, match=f"^{folder}/bad.safetensors: "):
        load_snapshot(f"{folder}/bad.safetensors")
    with pytest.raises(InputError, match="there is no such file"):
        load_snapshot(f"{folder}/c.safetensors")
