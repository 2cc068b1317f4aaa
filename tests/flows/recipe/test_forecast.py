"""A forecast says what the run then does: the same name, the same keys, the same stages, and it touches nothing."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import infra.features.classifier
from flows.metrics import extractors
from flows.recipe.config import PipelineConfig
from flows.recipe.forecast import Forecast, StageForecast, forecast
from flows.recipe.settings import load_config
from flows.stages.sample.config import SampleConfig
from infra.errors import ConfigError, ConflictError, InputError
from infra.outputs.costs import Attempt, Attempts, Costs, all_attempts
from infra.storage.open import open_store
from infra.storage.store import Store
from tests.conftest import TinyRun
from tests.flows.sessions import Walk, opened, put_images, run_settings, small
from tests.tiny import TINY

SEALED = ["prepare", "train", "sample", "evaluate"]


def plan(config: PipelineConfig, root: Path, *, remote: bool = False, **more: object) -> Forecast:
    before = files(root)
    found = forecast(config, run_settings(root, tracking=False, **more), open_store(str(root)), remote=remote)
    assert files(root) == before, "nothing is touched"
    return found


def files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")} | {"root": root.exists()}


def states(found: Forecast) -> list[str]:
    return [stage.state for stage in found.stages]


def of(found: Forecast, name: str) -> StageForecast:
    return next(stage for stage in found.stages if stage.stage == name)


def run_to(stage: str, config: PipelineConfig, root: Path, **more: object) -> Walk:
    with opened(config, run_settings(root, tracking=False, **more)) as walk:
        walk.to(stage)
    return walk


def assert_agree(found: Forecast, walk: Walk, begun: str) -> None:
    """The run has the forecast's name, found the same stages sealed, and began the outputs that were missing."""
    assert walk.name == found.name
    assert walk.sealed_before == [stage.stage for stage in found.stages if stage.state == "sealed"]
    missing = {folder.split("/")[1].partition(".")[0] for folder in of(found, begun).outputs}
    assert missing
    assert missing <= walk.around.begun


def test_nothing_there(tiny: PipelineConfig, tmp_path: Path) -> None:
    found = plan(tiny, tmp_path / "root")
    assert states(found) == ["would run", "waits", "waits", "waits", "waits"]
    prepared = found.stages[0]
    assert (prepared.done, prepared.total, prepared.unit, prepared.expected) == (0, 1797, "images", None)
    assert prepared.why == "there is no other below this root"
    assert of(found, "evaluate").why == "prepare and train and sample would run first"
    assert found.has_work
    assert_agree(found, run_to("prepare", tiny, tmp_path / "root"), "prepare")


def test_all_sealed(tiny: PipelineConfig, tiny_run: TinyRun) -> None:
    found = plan(tiny, tiny_run.root)
    assert states(found) == ["sealed", "sealed", "sealed", "sealed", "would run"]
    assert not found.has_work
    folders = [vars(tiny_run)[part].name.partition("/manifests")[0] for part in ("dataset", "snapshot", "samples")]
    assert [folder for stage in found.stages[:3] for folder in stage.outputs] == folders
    walk = run_to("evaluate", tiny, tiny_run.root)
    assert (walk.name, walk.sealed_before, walk.around.begun) == (found.name, SEALED, set())


def test_a_changed_setting(tiny_run: TinyRun) -> None:
    config = load_config("digits", None, [*TINY, "sample.num_steps=4"])
    found = plan(config, tiny_run.root)
    assert states(found) == ["sealed", "sealed", "would run", "waits", "waits"]
    sampled = of(found, "sample")
    assert sampled.why.endswith(": sample.num_steps 5 there, 4 here")
    assert (sampled.done, sampled.total) == (0, 24)
    assert_agree(found, run_to("sample", config, tiny_run.root), "sample")
    found = plan(config, tiny_run.root)
    assert states(found) == ["sealed", "sealed", "sealed", "would run", "waits"]
    assert "features: unlike features/" in of(found, "evaluate").why
    assert ": the images " in of(found, "evaluate").why
    assert_agree(found, run_to("evaluate", config, tiny_run.root), "evaluate")


def test_a_raised_goal(tiny_run: TinyRun) -> None:
    config = load_config("digits", None, [*TINY, "sample.count=40"])
    found = plan(config, tiny_run.root)
    sampled = of(found, "sample")
    assert (sampled.state, sampled.done, sampled.total) == ("goes on", 24, 40)
    assert sampled.why == "sample.count 24 is sealed, 40 is asked for"
    walk = run_to("sample", config, tiny_run.root)
    assert_agree(found, walk, "sample")
    assert walk.done("sample") == 40 - 24


def test_a_training_that_was_begun(tiny: PipelineConfig, tiny_run: TinyRun) -> None:
    (output,) = (tiny_run.root / "train").iterdir()
    for file in {*output.glob("manifests/*"), *output.glob("snapshots/*"), *output.glob("*/*1280*")}:
        file.unlink()
    kept = max(int(file.name[:12]) for file in output.glob("checkpoints/*.json"))
    assert kept < 1280
    found = plan(tiny, tiny_run.root)
    trained = of(found, "train")
    assert (trained.state, trained.done, trained.total, trained.unit) == ("goes on", kept, 1280, "images")
    assert trained.why == "it was begun and is not sealed"
    walk = run_to("train", tiny, tiny_run.root)
    assert_agree(found, walk, "train")
    assert walk.done("train") == 1280 - kept


def test_a_changed_source(tmp_path: Path) -> None:
    folder, root = put_images(tmp_path / "images", range(40)), tmp_path / "root"
    run_to("prepare", small(folder), root)
    put_images(folder, range(50, 55))
    found = plan(small(folder), root)
    prepared = of(found, "prepare")
    assert (prepared.state, prepared.total) == ("would run", 45)
    assert ": the images of the source " in prepared.why
    assert_agree(found, run_to("prepare", small(folder), root), "prepare")


def test_anew(tiny: PipelineConfig, tiny_run: TinyRun) -> None:
    found = plan(tiny, tiny_run.root, force=True)
    assert states(found) == ["would run", "waits", "waits", "waits", "waits"]
    assert found.stages[0].why == "it is computed anew beside what is sealed"
    assert found.stages[0].outputs[0].endswith(".1")
    assert_agree(found, run_to("prepare", tiny, tiny_run.root, force=True), "prepare")


def test_settings_that_do_not_suit_the_data_are_refused_as_a_run_refuses_them(tiny_run: TinyRun) -> None:
    config = load_config("digits", None, [*TINY, "train.class_conditional=true", "sample.label=10"])
    with pytest.raises(ConfigError) as planned:
        plan(config, tiny_run.root)
    with pytest.raises(ConfigError) as ran:
        run_to("train", config, tiny_run.root)
    assert str(planned.value) == str(ran.value)


def test_a_fit_that_is_sealed_and_does_not_suit_is_refused_as_a_run_refuses_it(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 0)  # it learns nothing
    monkeypatch.setattr(extractors, "FORMAT_VERSION", 96)  # another key, since a test before may have sealed it
    config = load_config("digits", None, [*TINY, "train.learning_rate=0.5", "evaluate.extractor=classifier"])
    assert of(plan(config, tiny_run.root), "evaluate").state == "waits", "the fit is not done yet"
    with pytest.raises(ConfigError, match="its features tell nothing") as ran:
        run_to("train", config, tiny_run.root)
    with pytest.raises(ConfigError) as planned:
        plan(config, tiny_run.root)
    assert str(planned.value) == str(ran.value)


@pytest.mark.parametrize("stage", ["train", "bound"])
def test_a_strict_environment_is_refused_as_a_run_refuses_it(tiny_run: TinyRun, stage: str) -> None:
    """An output of its own, and one of those that are computed together."""
    config = load_config("digits", None, [*TINY])
    (output,) = (tiny_run.root / stage).iterdir()
    for file in (*output.glob("manifests/*"), *(tiny_run.root / "evaluate").glob("*/manifests/*")):
        file.unlink()
    environment = output / "environment.json"
    environment.write_text(json.dumps(json.loads(environment.read_text()) | {"torch": "1.0"}))
    with pytest.raises(ConflictError) as planned:
        plan(config, tiny_run.root, strict_environment=True)
    with pytest.raises(ConflictError) as ran:
        run_to("evaluate", config, tiny_run.root, strict_environment=True)
    assert "torch: 1.0 there" in str(planned.value)
    assert str(planned.value) == str(ran.value)
    assert plan(config, tiny_run.root).has_work, "without the option it would go on"
    assert plan(config, tiny_run.root, strict_environment=True, force=True).has_work


def test_a_source_that_is_not_there_is_refused_as_a_run_refuses_it(tmp_path: Path) -> None:
    config = small(tmp_path / "nowhere")
    with pytest.raises(InputError) as planned:
        plan(config, tmp_path / "root")
    with pytest.raises(InputError) as ran:
        run_to("prepare", config, tmp_path / "root")
    assert str(planned.value) == str(ran.value)


def test_a_key_that_depends_on_a_cluster_is_left_to_the_run(tiny_run: TinyRun) -> None:
    config = load_config("digits", None, [*TINY, "sample.batch_size=0"])
    found = plan(config, tiny_run.root, remote=True)
    assert states(found) == ["sealed", "sealed", "waits", "waits", "waits"]
    assert of(found, "sample").why == "its key depends on the cluster's GPUs, which only a run asks for"
    assert of(plan(config, tiny_run.root), "sample").state == "would run", "this machine is asked at once"


def test_an_initial_network_is_found_and_not_kept(tiny_run: TinyRun) -> None:
    """A run seals the network that it starts from; a forecast reads it and knows its key."""
    (network,) = tiny_run.root.glob("train/*/snapshots/*.safetensors")
    config = load_config("digits", None, [*TINY, f"train.initial={network}"])
    found = plan(config, tiny_run.root)
    assert states(found)[:2] == ["sealed", "would run"]
    assert of(found, "train").why.endswith(": the network to start from only here")


def measured(root: Path, settings: Mapping[str, object], **more: object) -> None:
    about = {"stage": "sample", "settings": settings, "unit": "images", "outcome": "sealed", "run": "x-1a2b3c4d"}
    attempt = Attempt(**(about | more))  # type: ignore[arg-type]
    Costs(store=open_store(str(root)), stage="sample", work="01").claim(attempt)


def test_what_was_measured_is_expected(tiny_run: TinyRun) -> None:
    config = load_config("digits", None, [*TINY, "sample.count=40"])
    assert of(plan(config, tiny_run.root), "sample").expected is None
    measured(tiny_run.root, config.sample.key_settings(), done=24, wall_s=12.0, output_bytes=2400)
    expected = of(plan(config, tiny_run.root), "sample").expected
    assert expected is not None
    assert (expected.seconds, expected.bytes, expected.run) == (16 * 12.0 / 24, 4000, "x-1a2b3c4d")
    assert plan(config, tiny_run.root).seconds is None, "nothing is known of the evaluation"
    assert not expected.unlike
    other = load_config("digits", None, [*TINY, "sample.num_steps=4"])
    expected = of(plan(other, tiny_run.root), "sample").expected
    assert expected is not None
    assert expected.unlike == {"num_steps": (5, 4)}


def test_a_stage_that_waits_expects_its_goal(tiny: PipelineConfig, tmp_path: Path) -> None:
    measured(tmp_path, SampleConfig().key_settings(), done=12, wall_s=1.0)
    expected = of(plan(tiny, tmp_path), "sample").expected
    assert expected is not None
    assert expected.seconds == 2.0, "24 images"


def test_the_exact_work_is_found_among_more_records_than_are_read(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is that under which the run recorded its attempts, of every stage, whatever else was measured there."""

    def bounded(stage: str, store: Store, *, first: str) -> Attempts:
        return all_attempts(stage, store, first=first, most=0)

    monkeypatch.setattr("flows.recipe.forecast.all_attempts", bounded)
    config = load_config("digits", None, [*TINY, "sample.num_steps=4"])
    run_to("prepare", config, tiny_run.root, force=True)
    assert of(plan(config, tiny_run.root, force=True), "prepare").expected is not None, "its input is the listing"
    run_to("sample", config, tiny_run.root)
    more = load_config("digits", None, [*TINY, "sample.num_steps=4", "sample.count=40"])
    found = of(plan(more, tiny_run.root), "sample")
    assert found.expected is not None
    assert (found.expected.unlike, found.unread) == ({}, 0)
    found = of(plan(load_config("digits", None, [*TINY, "sample.num_steps=3"]), tiny_run.root), "sample")
    assert (found.expected, found.unread) == (None, 1)
