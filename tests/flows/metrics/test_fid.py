"""FID from the settings to the figure: a whole run with random weights, which some digest makes the published ones."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flows.artifacts import Dataset, Figures, Samples
from flows.metrics import features
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.distance import distance_metric
from flows.metrics.extractors import extractor_device, is_published, open_extractor
from flows.metrics.metric import ImageSet, Subject
from flows.metrics.table import METRICS
from flows.recipe.settings import load_config
from flows.run_record import FinishedRun
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.evaluate.stage import EVALUATE
from flows.stages.prepare.preparation import prepare
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.sections import render_page
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.digests import sha256
from infra.errors import ConfigError, InputError, IntegrityError
from infra.features.extractor import FEATURES
from infra.features.inception.weights import PUBLISHED
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, parse_manifest
from tests.conftest import TinyRun, revised
from tests.flows.metrics.subjects import measured, subject
from tests.flows.stages.prepare.command import INPUT, assert_one_line, run
from tests.infra.features.inception.files import random_weights, state_dict_file, with_the_rest

IMAGES = 20
SMALL = {
    "prepare.image_size": 8,
    "prepare.channels": 1,
    "prepare.holdout": 0.3,
    "train.images": 32,
    "train.batch_size": 16,
    "train.num_timesteps": 20,
    "train.beta_end": 0.3,
    "train.base_channels": 8,
    "train.norm_groups": 4,
    "train.channel_mults": [1],
    "train.attention_resolutions": [],
    "train.dtype": "float32",
    "sample.count": 4,
    "sample.batch_size": 4,
    "sample.num_steps": 2,
    "evaluate.metrics": ["fd"],
    "evaluate.extractor": "inception",
}


def text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Scene:
    """Images, a file of weights with its digest, and the settings of a run that has both."""

    root: Path
    file: Path
    digest: str
    settings: dict[str, Any]

    def given(self, **changes: object) -> list[str]:
        """The settings as a command line has them."""
        changed = self.settings | {f"evaluate.{name}": value for name, value in changes.items()}
        return [f"{name}={text(value)}" for name, value in changed.items()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    place = tmp_path_factory.mktemp("fid")
    (place / "images").mkdir()
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / "images" / f"{number}.png")
    file = place / "the weights.pth"
    file.write_bytes(state_dict_file(with_the_rest(random_weights())))
    settings = SMALL | {"prepare.source": str(place / "images"), "evaluate.extractor_weights": str(file)}
    return Scene(root=place / "root", file=file, digest=sha256(file.read_bytes()), settings=settings)


@pytest.fixture(scope="module")
def stages(scene: Scene) -> Callable[[Context], TinyRun]:
    """The stages up to the evaluation, which find everything sealed after the first time."""

    def finish(context: Context) -> TinyRun:
        config = load_config("folder", None, scene.given())
        dataset = prepare(config.prepare, context)
        snapshot = train(config.train, dataset, context)
        samples = sample(config.sample, snapshot, context)
        figures = evaluate(config.evaluate, dataset, snapshot, samples, context)
        return TinyRun(
            config=config, context=context, dataset=dataset, snapshot=snapshot, samples=samples, figures=figures
        )

    return finish


@pytest.fixture
def finished(
    scene: Scene,
    stages: Callable[[Context], TinyRun],
    make_context: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
) -> TinyRun:
    """The run with weights that count as published."""
    monkeypatch.setitem(PUBLISHED, scene.digest, "of a test")
    return stages(make_context(scene.root))


def test_a_command_gives_a_figure_called_fid(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PUBLISHED, scene.digest, "of a test")
    given = [part for setting in scene.given() for part in ("--set", setting)]
    assert run(scene.root, "evaluate", "folder", *given) == 0
    assert "fid " in capsys.readouterr().out
    (name,) = (scene.root / "evaluate").glob("*/manifests/all.json")
    (figure,) = Figures.of(parse_manifest(name.read_bytes(), "x")).figures
    assert (figure.name, figure.label, figure.headline) == ("fid", "fid", True)


def features_of(run: TinyRun, of: Dataset | Samples, split: str, weights: Manifest) -> torch.Tensor:
    """All features at once."""
    images = DatasetReader(store=run.store, manifest=of.manifest(run.store)).load(split)[0]
    return open_extractor(ExtractorName.INCEPTION, weights, run.store)(torch.from_numpy(images))[FEATURES].double()


def distance_of_few(a: torch.Tensor, b: torch.Tensor) -> float:
    """The Fréchet distance without a covariance: C = X^T X / (n - 1), so the root's trace is that of a small matrix."""
    centred = [(side - side.mean(0)) / (len(side) - 1) ** 0.5 for side in (a, b)]
    traces = sum(float(side.square().sum()) for side in centred)
    root = float(torch.linalg.svdvals(centred[0] @ centred[1].T).sum())
    return float((a.mean(0) - b.mean(0)).square().sum()) + traces - 2 * root


def sealed_weights(run: TinyRun) -> Manifest:
    (name,) = (name for name in run.store.list("weights") if name.endswith("all.json"))
    return parse_manifest(run.store.read(name), name)


def test_the_figure_its_note_its_name_in_mlflow_and_the_report(finished: TinyRun) -> None:
    (figure,) = finished.figures.figures
    train_images = finished.dataset.train_images
    assert figure.note == (
        f"Fréchet Inception distance of 4 samples to {train_images} training images; biased upward below 2,048; "
        "a standard error needs 2,160 samples"
    )
    weights = sealed_weights(finished)
    sides = (finished.samples, "samples"), (finished.dataset, "train")
    expected = distance_of_few(*(features_of(finished, of, split, weights) for of, split in sides))
    assert figure.value == pytest.approx(expected, rel=1e-4)
    inputs = (finished.dataset, finished.snapshot, finished.samples)
    said = EVALUATE.account(finished.config.evaluate, finished.figures, inputs, finished.store)
    assert said.metrics == {"eval/fid": figure.value}
    record = FinishedRun(
        dataset=finished.dataset, snapshot=finished.snapshot, samples=finished.samples, figures=finished.figures
    )
    outputs = read_outputs(finished.store, record)
    page = render_page("a-run", outputs, draw(outputs), {})
    assert figure.note in page
    assert ">fid<" in page


def with_weights(run: TinyRun, weights: Manifest | None) -> Subject:
    return replace(subject(run), extractor=ExtractorName.INCEPTION, weights=weights)


def seven(about: Subject) -> ImageSet:
    assert about.reference is not None
    return replace(about.reference, count=7)


def test_by_other_weights_it_is_no_fid(finished: TinyRun, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sealed_weights(finished)
    assert is_published(ExtractorName.INCEPTION, weights)
    monkeypatch.delitem(PUBLISHED, scene.digest)
    assert not is_published(ExtractorName.INCEPTION, weights)
    with pytest.raises(InputError, match="is no published file"):
        evaluate(finished.config.evaluate, finished.dataset, finished.snapshot, finished.samples, finished.context)
    config = revised(finished.config.evaluate, {"extractor_sha256": scene.digest})
    found = evaluate(config, finished.dataset, finished.snapshot, finished.samples, finished.context)
    (figure,) = found.figures
    assert (figure.name, figure.value) == ("fd_inception", finished.figures.figures[0].value)
    assert "training images (not an FID); biased upward" in figure.note


def test_any_other_distance_keeps_name_and_caution(finished: TinyRun) -> None:
    about = with_weights(finished, sealed_weights(finished))
    metric = distance_metric("shift", "Shift", lambda a, b: float((a.mean - b.mean).sum()), caution="; a test")
    (figure,) = measured(metric, about, finished.context).figures
    assert figure.name == "shift_inception"
    assert figure.note.startswith(f"Shift of 4 samples to {finished.dataset.train_images} training images; a test")


def test_another_file_makes_other_features_and_one_image_too_few_is_refused(finished: TinyRun) -> None:
    weights = sealed_weights(finished)
    other = replace(weights, digest="0" * 64)
    keys = [
        [work.plan.key for work in next(METRICS[MetricName.FD](with_weights(finished, one)))]
        for one in (weights, other)
    ]
    assert not set(keys[0]) & set(keys[1])
    about = with_weights(finished, weights)
    about = replace(about, samples=replace(about.samples, count=1))
    with pytest.raises(ConfigError, match="2 samples are needed for a distance; there are 1"):
        next(METRICS[MetricName.FD](about))


def test_a_worker_verifies_the_weights(finished: TinyRun) -> None:
    weights = sealed_weights(finished)
    file = finished.root / weights.folder / weights.units[0]["file"]
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="differs from its digest"):
        open_extractor(ExtractorName.INCEPTION, weights, finished.store)
    file.write_bytes(whole)


def test_a_unit_is_read_in_chunks(finished: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many images are in memory at a time, however large a unit is."""
    monkeypatch.setattr(features, "_CHUNK", 2)
    seen: list[int] = []

    def extractor(images: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(len(images))
        return {FEATURES: images.flatten(1).float()}

    monkeypatch.setattr(features, "open_extractor", lambda *_: extractor)
    about = with_weights(finished, replace(sealed_weights(finished), digest="0" * 64))
    work = features.features_work(about, seven(about), label="reference")
    assert len(work.names) == 2
    output = finished.context.output(work.plan)
    for number in range(2):
        work.task(output, "cpu").open()(number)
    assert seen == [2, 2, 2, 1]


def test_only_an_extractor_with_a_file_computes_on_the_gpu(finished: TinyRun) -> None:
    devices = {name: extractor_device(name, "cuda") for name in ExtractorName if name != ExtractorName.AUTO}
    on_cpu, on_gpu = ("classifier", "pixels"), ("inception", "dinov2", "program")
    assert devices == dict.fromkeys(on_cpu, "cpu") | dict.fromkeys(on_gpu, "cuda")
    for extractor, device in (("inception", "cuda"), ("pixels", "cpu")):
        about = with_weights(finished, sealed_weights(finished))
        about = replace(about, device="cuda", extractor=ExtractorName(extractor))
        work = features.features_work(about, seven(about), label="reference")
        assert work.environment.device == device
        assert work.task(finished.context.output(work.plan), device).device == device


ERRORS = {
    "no file": ("extractor_weights", "/nowhere/w.pth", "is not there"),
    "a folder": ("extractor_weights", "/", "cannot be read"),
    "not the stated digest": ("extractor_sha256", "0" * 64, "has the sha256"),
    "not published": ("extractor_sha256", "", "state their sha256 by evaluate.extractor_sha256"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_wrong_file_ends_the_run_before_it_trains(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    name, value, cause = ERRORS[kind]
    given = [part for setting in scene.given(**{name: value}) for part in ("--set", setting)]
    assert run(tmp_path / "root", "evaluate", "folder", *given) == INPUT
    assert_one_line(capsys, cause)
    assert not (tmp_path / "root" / "train").exists()


def test_so_does_a_file_that_holds_something_else(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.pth"
    file.write_bytes(state_dict_file({"fc.bias": torch.zeros(1000)}))
    changes = {"extractor_weights": str(file), "extractor_sha256": sha256(file.read_bytes())}
    given = [part for setting in scene.given(**changes) for part in ("--set", setting)]
    assert run(tmp_path / "root", "evaluate", "folder", *given) == INPUT
    assert_one_line(capsys, "holds fc.bias of shape [1000], not [1008]")
    assert not (tmp_path / "root" / "train").exists()
