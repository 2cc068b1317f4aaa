"""Training starts from a network: one key for every address of it, exact first steps, and no source needed later."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed as dist
import torch.multiprocessing
from mlflow import MlflowClient
from torch.nn import functional as F

from ddpm_core.network.unet import UNet
from ddpm_core.training_order import TrainingOrder, training_noise
from flows.artifacts import Snapshot
from flows.exchange.folder import export_snapshot
from flows.given import Given
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.initial import SETTING, find_initial, first_network, read_initial
from flows.stages.train.training import train
from flows.stages.train.worker import TrainingWorker
from infra.digests import sha256
from infra.errors import ConfigError, InputError, IntegrityError
from infra.outputs.images import DatasetReader
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors
from tests.conftest import TinyRun
from tests.flows.conftest import NAME
from tests.flows.exchange.diffusers_folders import alter

STEP = 16


@pytest.fixture
def config(tiny_run: TinyRun) -> TrainConfig:
    """Five steps of the run's own network, without a warm-up."""
    changes = {"images": 80, "batch_size": STEP, "history_images": STEP, "checkpoint_images": 48, "lr_warmup_images": 0}
    return tiny_run.config.train.model_copy(update={"device": "cpu", "watch_share": 0.0, **changes})


@pytest.fixture
def source(finished: TinyRun, tmp_path: Path) -> Path:
    """The run's snapshot outside its root."""
    trained = finished.snapshot.manifest(finished.store)
    return Path(shutil.copy(finished.root / trained.folder / trained.units[0]["file"], tmp_path / "net.safetensors"))


def started(run: TinyRun, config: TrainConfig, initial: str | Path, **context: object) -> Snapshot:
    config = config.model_copy(update={"initial": str(initial)})
    return train(config, run.dataset, replace(run.context, **context))


def register(run: TinyRun, file: Path) -> str:
    """Put a snapshot into the registry below the root, as a run does; return its address."""
    client = MlflowClient(f"sqlite:///{run.root / 'mlflow.db'}")
    client.create_registered_model("net")
    tags = {"ddpm.uri": str(file), "ddpm.sha256": sha256(file.read_bytes())}
    version = client.create_model_version("net", str(file), tags=tags, await_creation_for=0)
    client.set_registered_model_alias("net", "champion", version.version)
    return "models:/net@champion"


def test_every_address_of_a_network_has_one_digest(finished: TinyRun, source: Path, root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "mlflow.db", finished.root)
    export_snapshot(str(source), str(tmp_path / "diffusers"))
    alias = register(finished, source)
    addresses = [NAME, NAME.rpartition("-")[2], str(source), f"file://{source}", str(tmp_path / "diffusers"), alias]
    found = {address: find_initial(address, finished.store) for address in [*addresses, "models:/net/1"]}
    assert len({given.digest for given in found.values()}) == 1
    assert found[alias].place == "models:/net/1", "an alias may move, so its version is recorded"
    assert sha256(source.read_bytes())[:12] in found[NAME].place


def test_a_folder_of_another_program_has_the_digest_of_its_weights(
    finished: TinyRun, source: Path, tmp_path: Path
) -> None:
    """Without the description that our export adds, the import's bytes are others."""
    folder = tmp_path / "diffusers"
    export_snapshot(str(source), str(folder))
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(file), file)
    assert find_initial(str(folder), finished.store).digest == find_initial(NAME, finished.store).digest
    alter(folder, lambda tensors: {name: 2 * tensor for name, tensor in tensors.items()})
    assert find_initial(str(folder), finished.store).digest != find_initial(NAME, finished.store).digest


def test_the_key_is_that_of_the_content(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    fresh = started(finished, config, "")
    by_name = started(finished, config, NAME)
    assert started(finished, config, source) == replace(by_name, reused=True)
    other = started(finished, config, fresh_file(finished, fresh))
    assert len({fresh.key, by_name.key, other.key}) == len({fresh.digest, by_name.digest, other.digest}) == 3
    manifest = by_name.manifest(finished.store)
    assert manifest.plan["inputs"] == {
        "dataset": finished.dataset.digest,
        "initial": manifest.facts["initial"]["digest"],
    }
    assert manifest.facts["initial"]["source"] == NAME


def test_without_one_the_key_is_as_ever(finished: TinyRun, config: TrainConfig) -> None:
    plan = started(finished, config, "").manifest(finished.store)
    assert plan.plan["inputs"] == {"dataset": finished.dataset.digest}
    assert "initial" not in plan.plan["settings"] | plan.facts


def fresh_file(run: TinyRun, snapshot: Snapshot) -> Path:
    trained = snapshot.manifest(run.store)
    return run.root / trained.folder / trained.units[0]["file"]


def test_the_first_step_is_that_computed_by_hand(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    """The loss from its definition, Adam's first step and the average, from the weights in the file."""
    config = config.model_copy(update={"images": STEP, "checkpoint_images": STEP, "learning_rate": 1e-3})
    sealed = started(finished, config, source).manifest(finished.store)
    output = Output(store=finished.store, plan=Plan(**sealed.plan))
    before = safetensors.torch.load_file(source)
    network = UNet(config.unet(8, 1), seed=None)
    network.load_state_dict(before)
    images, _ = DatasetReader(store=finished.store, manifest=finished.dataset.manifest(finished.store)).load("train")
    slots = torch.arange(STEP)
    x_start = torch.from_numpy(images)[TrainingOrder(config.seed, len(images))(slots)].float() / 127.5 - 1
    noise = training_noise(config.seed, slots, config.num_timesteps, (1, 8, 8))
    betas = torch.linspace(config.beta_start, config.beta_end, 20, dtype=torch.float64)
    bar = torch.cumprod(1 - betas, 0)[noise.t].float()[:, None, None, None]
    F.mse_loss(network(bar.sqrt() * x_start + (1 - bar).sqrt() * noise.eps, noise.t), noise.eps).backward()
    norm = torch.stack([weight.grad.norm() for weight in network.parameters()]).norm()
    clip = min(1.0, config.grad_clip / float(norm))

    saved, _ = decode_tensors(output.read(output.record(f"{CHECKPOINTS}/{STEP:012d}")), "checkpoint")
    after, _ = decode_tensors(output.read(output.record(f"{SNAPSHOTS}/{STEP:012d}")), "snapshot")
    for number, (name, weight) in enumerate(network.named_parameters()):
        gradient = clip * weight.grad
        assert torch.allclose(saved[f"optimizer.{number}.exp_avg"], 0.1 * gradient, rtol=1e-3, atol=1e-7), name
        # The moments are fresh, so the first step has the size of the learning rate.
        moved = before[name] - 1e-3 * gradient / (gradient.abs() + 1e-8)
        large = gradient.abs() > 1e-5
        assert torch.allclose(saved[f"network.{name}"][large], moved[large], atol=2e-6), name
        assert torch.equal(after[name], saved[f"ema.{name}"])
        assert torch.equal(after[name], saved[f"network.{name}"]), "the average has half-life 0 at 0 images seen"
    assert sum(int((saved[f"network.{name}"] != before[name]).sum()) for name in before) > 1000


def test_both_copies_start_as_the_network(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    given = find_initial(str(source), finished.store)
    worker = worker_of(finished, config, given.digest)
    before = safetensors.torch.load_file(source)
    assert worker.state.images_seen == 0
    assert not worker.state.optimizer.state
    for copy in (worker.state.network, worker.state.ema):
        assert all(torch.equal(value, before[name]) for name, value in copy.state_dict().items())


def worker_of(run: TinyRun, config: TrainConfig, initial: str, name: str = "a") -> TrainingWorker:
    return TrainingWorker(assignment(run, config, initial, name))


def assignment(run: TinyRun, config: TrainConfig, initial: str, name: str) -> Assignment:
    plan = Plan(stage="train", format_version=1, settings={"case": name}, inputs={})
    return Assignment(config=config, dataset=run.dataset, output=Output(store=run.store, plan=plan), initial=initial)


def _second_process(rank: int, values: dict[str, object], meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    try:
        worker = TrainingWorker(Assignment.from_json(values))
        worker.resume()
        worker.run()
    finally:
        dist.destroy_process_group()


def test_two_workers_start_from_it_alike(finished: TinyRun, config: TrainConfig, source: Path, tmp_path: Path) -> None:
    """Neither has the source, only the store, as on another node."""
    config = config.model_copy(update={"learning_rate": 1e-4})
    digest = find_initial(str(source), finished.store).digest
    source.unlink()
    one = worker_of(finished, config, digest, "one")
    one.run()
    two = assignment(finished, config, digest, "two")
    values = json.loads(json.dumps(two.as_json()))
    torch.multiprocessing.spawn(_second_process, (values, str(tmp_path / "meeting")), nprocs=2)
    ours, theirs = (
        decode_tensors(output.read(output.record(f"{SNAPSHOTS}/{80:012d}")), "snapshot")[0]
        for output in (one.output, two.output)
    )
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=2e-5), name


def test_a_begun_training_goes_on_without_the_source(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    whole = started(finished, config, source)
    shutil.rmtree(finished.root / "train" / whole.key)
    begun = started(finished, config.model_copy(update={"images": 48}), source)
    source.unlink()
    lines: list[str] = []
    resumed = started(finished, config, source, say=lines.append)
    assert (resumed.key, resumed.digest) == (begun.key, whole.digest)
    assert "cannot be read (No such file or directory); training starts from the network that it held" in lines[1]


def test_a_run_keeps_the_network_that_it_found(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    """An alias that moves, or a file that changes, between the start of the run and that of the stage."""
    given = find_initial(str(source), finished.store)
    source.write_bytes(b"another")
    assert started(finished, config, source, given={SETTING: given}).key == started(finished, config, NAME).key


@pytest.mark.parametrize(
    ("initial", "line"),
    [
        ("none", r"^train: train.initial: none: no finished run of that name below .*choose one of digits-1a2b3c4d$"),
        ("/none/net.safetensors", r"^train: train.initial: /none/net.safetensors: cannot be read"),
        ("here", r"no finished run of that name below .* - for the path write ./here$"),
    ],
)
def test_a_network_that_is_not_there_is_one_line(
    finished: TinyRun, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, initial: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match=line) as caught:
        started(finished, config, initial)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    tensors, settings = decode_tensors(source.read_bytes(), "")
    tensors["conv_in.bias"][0] = float("nan")
    source.write_bytes(encode_tensors(tensors, settings))
    with pytest.raises(InputError, match="not finite"):
        started(finished, config, source)


def test_damage_is_found(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    digest = find_initial(str(source), finished.store).digest
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match=r"net.safetensors: is not a safetensors file") as caught:
        started(finished, config, source)
    assert caught.value.exit_code == 6
    source.write_bytes(whole)
    (copy,) = (finished.root / "initial").glob("*/units/*.safetensors")
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    for work in (lambda: started(finished, config, source), lambda: worker_of(finished, config, digest)):
        with pytest.raises(IntegrityError, match="differs from its digest - delete the folder") as caught:
            work()
        assert caught.value.exit_code == 6
    shutil.rmtree(copy.parents[1])
    assert started(finished, config, source).images_seen == 80


def test_a_damaged_memory_of_a_source_is_named(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    find_initial(str(source), finished.store)
    source.unlink()
    (memory,) = (finished.root / "initial/sources").iterdir()
    memory.write_text("{}")
    with pytest.raises(IntegrityError, match="is damaged"):
        started(finished, config, source)


def test_a_network_that_does_not_fit_is_refused_before_training(finished: TinyRun, config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"train\.base_channels is 16 here, 8 there") as caught:
        started(finished, config.model_copy(update={"base_channels": 16}), NAME)
    assert (caught.value.exit_code, caught.value.remedy) == (2, "--set train.base_channels=8")
    assert len(list((finished.root / "train").iterdir())) == 1, "only that of the run"


def test_other_classes_start_afresh(finished: TinyRun, config: TrainConfig) -> None:
    """Ten classes there, three here: fresh embeddings, but that of no label, which lies last in both."""
    config = config.model_copy(update={"class_conditional": True})
    digits = started(finished, config, "")
    given = find_initial(str(fresh_file(finished, digits)), finished.store)
    old = read_initial(given.digest, finished.store).network.state_dict()
    shape = config.unet(8, 1, 3)
    new, fresh = first_network(shape, 5, given.digest, finished.store).state_dict(), UNet(shape, seed=5).state_dict()
    name = "class_embedding.weight"
    assert torch.equal(new[name][:3], fresh[name][:3])
    assert torch.equal(new[name][3], old[name][10])
    assert all(torch.equal(new[other], old[other]) for other in old if other != name)
    same = first_network(config.unet(8, 1, 10), 5, given.digest, finished.store).state_dict()
    assert torch.equal(same[name], old[name])


def test_the_record_of_the_source_is_said_and_sealed(finished: TinyRun, config: TrainConfig, source: Path) -> None:
    lines: list[str] = []
    sealed = started(finished, config, source, say=lines.append).manifest(finished.store).facts["initial"]
    given = Given(digest=sealed["digest"], place=sealed["place"])
    assert [line for line in lines if "initial" in line] == [f"  initial {given.place}, digest {given.digest[:12]}"]
    assert given == find_initial(str(source), finished.store)
