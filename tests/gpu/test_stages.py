"""The whole pipeline on a GPU in this process, without Ray, Prefect and MLflow."""

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

np = pytest.importorskip("numpy")
pytest.importorskip("pydantic")

from flows.artifacts import Artifact, Figures, Samples, Snapshot
from flows.recipe.config import PipelineConfig
from flows.recipe.run import recipe_surroundings, steps
from flows.recipe.settings import load_config
from flows.runtime.runner import run_stage
from flows.runtime.settings import RunSettings
from flows.snapshot import decode_snapshot
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.compute.cluster import Cluster
from infra.compute.probe import probe
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.storage.open import open_store
from tests.tiny import TINY

pytestmark = pytest.mark.gpu

HALF = 640


@dataclass(frozen=True)
class Done:
    """A finished run and the folder of its outputs."""

    root: Path
    config: PipelineConfig
    results: dict[str, Any]

    def manifest(self, stage: str) -> Manifest:
        return self.results[stage].manifest(open_store(str(self.root)))


def tiny(device: torch.device | str, *more: str) -> PipelineConfig:
    devices = [f"{stage}.device={torch.device(device).type}" for stage in ("train", "sample", "evaluate")]
    return load_config("digits", None, [*TINY, *devices, *more])


def context(root: Path) -> Context:
    return Context(store=open_store(str(root)), cluster=Cluster(mode="in-process"))


def weights(root: Path, snapshot: Snapshot) -> torch.Tensor:
    store = open_store(str(root))
    manifest = snapshot.manifest(store)
    network = decode_snapshot(read_verified(store, manifest.folder, manifest.units[0]), "snapshot").network
    return torch.cat([weight.flatten() for weight in network.parameters()])


@pytest.fixture(scope="module")
def done(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("run")
    config = tiny(device)
    settings = RunSettings(mode="in-process", tracking=False, root=str(root), preset="digits")
    with recipe_surroundings(config, settings):
        results = {
            stage.name: result for stage, result in steps(config, settings, lambda stage: partial(run_stage, stage))
        }
    return Done(root, config, results)


@pytest.fixture
def prepared(done: Done, tmp_path: Path) -> Path:
    """A root that holds the data set alone."""
    shutil.copytree(done.root / "prepare", tmp_path / "root" / "prepare")
    return tmp_path / "root"


@pytest.fixture
def trained(done: Done, prepared: Path) -> Path:
    """A root that holds the data set and the snapshot alone."""
    shutil.copytree(done.root / "train", prepared / "train")
    return prepared


def test_all_figures_are_finite(done: Done) -> None:
    figures = done.results["evaluate"]
    assert isinstance(figures, Figures)
    assert {name: value for name, value in figures.metrics.items() if not math.isfinite(value)} == {}
    assert 0 < figures.metrics["eval/bits_per_dim_fixed_large"] < 12, "8 need no network"


def test_the_report_is_written(done: Done) -> None:
    page = done.root / done.results["report"].folder / "report.html"
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("stage", ["train", "sample"])
def test_the_manifest_names_the_device(done: Done, device: torch.device, stage: str) -> None:
    (name,) = probe(compiler=False).devices(device.type)
    assert done.manifest(stage).environment["device"] == name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_that_goes_on_from_half_comes_to_the_same_bits(
    done: Done, device: torch.device, prepared: Path, tmp_path: Path, dtype: str
) -> None:
    """Bit-equality of weights is promised at equal world size and device class."""
    shutil.copytree(prepared, tmp_path / "straight")
    found = []
    for root, goals in ((tmp_path / "straight", (2 * HALF,)), (prepared, (HALF, 2 * HALF))):
        for images in goals:
            config = tiny(device, f"train.images={images}", f"train.dtype={dtype}", "train.dropout=0.1").train
            snapshot = train(config, done.results["prepare"], context(root))
        found.append((snapshot.digest, weights(root, snapshot)))
    (straight, expected), (resumed, computed) = found
    print(
        f"{dtype}: training on from half is {'' if straight == resumed else 'NOT '}equal bit for bit; "
        f"largest difference of a weight {float((computed - expected).abs().max()):.3g}"
    )
    assert resumed == straight


def pixels(root: Path, samples: Samples) -> np.ndarray:
    store = open_store(str(root))
    return DatasetReader(store=store, manifest=samples.manifest(store)).load("samples")[0].astype(int)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_samples_are_those_of_the_cpu_within_two_grey_levels(
    done: Done, device: torch.device, trained: Path, tmp_path: Path, sampler: str
) -> None:
    """The same snapshot and noise; float32 differs by rounding, which a chain may carry over an edge of a level."""
    shutil.copytree(trained, tmp_path / "cpu")
    drawn = []
    for root, where in ((trained, device), (tmp_path / "cpu", "cpu")):
        config = tiny(where, f"sample.sampler={sampler}", "sample.num_steps=20").sample
        drawn.append(pixels(root, sample(config, done.results["train"], context(root))))
    differences = np.abs(drawn[0] - drawn[1])
    print(f"{sampler}: {np.mean(differences > 0):.2%} of the pixels differ, by at most {differences.max()} levels")
    assert drawn[1].std() > 10, "images, not a constant"
    assert differences.max() <= 2


def test_the_likelihoods_are_those_of_the_cpu(done: Done, device: torch.device, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(done.root / "sample", trained / "sample")
    shutil.copytree(trained, tmp_path / "cpu")
    measures = []
    for root, where in ((trained, device), (tmp_path / "cpu", "cpu")):
        kinds = 'evaluate.likelihood=["bound", "estimate", "flow"]'
        config = tiny(where, kinds, "evaluate.bpd_timesteps=5", "evaluate.flow_steps=10").evaluate
        inputs: list[Artifact] = [done.results[stage] for stage in ("prepare", "train", "sample")]
        measures.append(evaluate(config, *inputs, context(root)).metrics)
    print(
        *(
            f"bits/dim, {kind}: {[one[f'eval/bits_per_dim_{kind}'] for one in measures]}"
            for kind in ("fixed_large", "flow")
        )
    )
    assert measures[0] == pytest.approx(measures[1], rel=1e-4, abs=1e-6)
