"""Evaluate: one digest for one set of inputs, with the features that were asked for or an error that says why not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch

import infra.features.classifier
from flows.artifacts import Figures, Snapshot
from flows.snapshot import decode_snapshot, encode_snapshot
from flows.stage import Progress
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.compute.cluster import Cluster
from infra.errors import ConfigError, DivergedError
from infra.outputs.manifest import parse_manifest, read_verified, verify
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun, revised


@dataclass
class Arranged(Cluster):
    """Runs units in this process in another order, or only some of them."""

    order: Callable[[Sequence[int]], Sequence[int]] = tuple
    stop_after: int = 10**6
    ran: tuple[int, ...] = ()

    def run_units(self, task: object, units: Sequence[int], **more: object) -> None:
        if not units:
            return
        self.ran = tuple(self.order(units))[: self.stop_after]
        super().run_units(task, self.ran, **more)
        if self.stop_after < len(units):
            raise KeyboardInterrupt


@pytest.fixture
def config(tiny_run: TinyRun) -> EvaluateConfig:
    return tiny_run.config.evaluate


@pytest.fixture
def judge(tiny_run: TinyRun) -> Callable[..., Figures]:
    def call(config: EvaluateConfig, changes: dict[str, object] | None = None, **how: object) -> Figures:
        call.cluster = Arranged(mode="in-process", **how)
        inputs = {name: getattr(tiny_run, name) for name in ("dataset", "snapshot", "samples")} | (changes or {})
        return evaluate(config, **inputs, context=replace(call.context, cluster=call.cluster))

    call.context = tiny_run.context
    return call


@pytest.fixture
def forced(judge: Callable[..., Figures]) -> Callable[..., Figures]:
    judge.context = replace(judge.context, force=True)
    return judge


def test_a_sealed_one_is_found(tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]) -> None:
    assert judge(config) == replace(tiny_run.figures, reused=True)
    verify(tiny_run.store, tiny_run.figures.manifest(tiny_run.store))


@pytest.mark.parametrize("order", [lambda u: u[::-1], lambda u: [*u[1:], *u]])
def test_any_order_gives_the_same_digest(
    tiny_run: TinyRun, config: EvaluateConfig, forced: Callable[..., Figures], order: object
) -> None:
    again = forced(config, order=order)
    assert not again.reused
    assert again.name != tiny_run.figures.name
    assert again.digest == tiny_run.figures.digest
    assert again.metrics == tiny_run.figures.metrics


def test_cut_short_and_resumed_gives_the_same_digest(
    tiny_run: TinyRun, config: EvaluateConfig, forced: Callable[..., Figures]
) -> None:
    heard: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        forced(config, stop_after=4)
    forced.context = replace(forced.context, force=False, on_progress=heard.append)
    resumed = forced(config)
    assert forced.cluster.ran == (1,), "both kinds of features are sealed, and one batch of the bound is committed"
    assert [(p.done, p.total, p.start, p.kept) for p in heard] == [(n, 2, 1, n) for n in (1, 2)]
    assert {p.unit for p in heard} == {"units"}
    assert resumed.digest == tiny_run.figures.digest


def test_the_metrics_are_a_unit_of_their_own(tiny_run: TinyRun) -> None:
    """So that the digest covers the figures, too."""
    import json

    manifest = tiny_run.figures.manifest(tiny_run.store)
    data = read_verified(tiny_run.store, manifest.folder, manifest.units[-2])
    sealed = {figure.name: [figure.value, figure.standard_error] for figure in tiny_run.figures.figures}
    assert json.loads(data) == sealed


class TestClassifier:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(infra.features.classifier, "_STEPS", 30)

    def test_it_is_trained_once_and_sealed_by_itself(
        self, tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = revised(config, {"extractor": "classifier"})
        threads = torch.get_num_threads()
        heard: list[Progress] = []
        judge.context = replace(judge.context, on_progress=heard.append)
        first = judge(config)
        assert [p.phase for p in heard[:3]] == ["training the classifier", "starting", ""]
        assert torch.get_num_threads() == threads
        assert first.extractor == "classifier"
        assert first.metrics["eval/fd_classifier"] > 0
        assert "eval/fd_pixels" not in first.metrics
        sealed = [name for name in tiny_run.store.list("classifier") if "manifests" in name]
        assert len(sealed) == 1
        monkeypatch.setattr("infra.features.classifier.train_classifier", lambda *_: pytest.fail("it is sealed"))
        other = judge(config.model_copy(update={"seed": 1}))
        assert other.metrics["eval/fd_classifier"] == first.metrics["eval/fd_classifier"]

    def test_its_digest_is_deterministic(self, config: EvaluateConfig, forced: Callable[..., Figures]) -> None:
        config = revised(config, {"extractor": "classifier"})
        first = forced(config)
        torch.manual_seed(99)
        again = forced(config, order=lambda units: units[::-1])
        assert again.name != first.name
        assert again.digest == first.digest

    def test_the_bound_does_not_depend_on_the_features(
        self, tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]
    ) -> None:
        metrics = judge(revised(config, {"extractor": "classifier"})).metrics
        shared = metrics.keys() & tiny_run.figures.metrics.keys()
        assert metrics.keys() - shared == {
            f"eval/{n}" for n in ("fd_classifier", "accuracy_classifier", "accuracy_classifier_stderr")
        }
        assert {name: metrics[name] for name in shared} == {name: tiny_run.figures.metrics[name] for name in shared}

    def test_auto_takes_it_where_there_are_labels(self, config: EvaluateConfig, judge: Callable[..., Figures]) -> None:
        assert judge(revised(config, {"extractor": "auto"})).extractor == "classifier"


@pytest.mark.parametrize("names", [(), ("only",)])
class TestWithoutLabels:
    def test_the_classifier_is_refused(
        self, tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures], names: tuple[str, ...]
    ) -> None:
        unlabelled = replace(tiny_run.dataset, class_names=names)
        with pytest.raises(ConfigError, match="fewer than two classes") as caught:
            judge(revised(config, {"extractor": "classifier"}), {"dataset": unlabelled})
        error = caught.value
        assert (error.exit_code, error.stage, error.item) == (2, "evaluate", "evaluate.extractor")
        assert error.remedy.endswith("=pixels")
        assert tiny_run.store.list("classifier") == []

    def test_auto_takes_the_pixels(
        self, tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures], names: tuple[str, ...]
    ) -> None:
        unlabelled = replace(tiny_run.dataset, class_names=names)
        figures = judge(revised(config, {"extractor": "auto"}), {"dataset": unlabelled})
        assert figures.extractor == "pixels"
        assert figures.digest == tiny_run.figures.digest


@pytest.mark.parametrize(
    ("change", "same"),
    [({"workers": 2}, True), ({"device": "cpu"}, True), ({"seed": 1}, False), ({"bpd_images": 12}, False)],
    ids=str,
)
def test_the_key(
    tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures], change: dict[str, object], same: bool
) -> None:
    other = judge(config.model_copy(update=change))
    assert (other.key == tiny_run.figures.key) is same
    assert (other.digest == tiny_run.figures.digest) is same


def test_the_last_unit_of_the_bound_is_filled_up_and_cut_again(
    tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]
) -> None:
    """Thirteen images in batches of eight: each image's terms are those of a run of sixteen."""
    from infra.outputs.tensors import decode_tensors

    def terms(figures: Figures) -> torch.Tensor:
        name = f"{figures.manifest(tiny_run.store).facts['outputs']['bound']}/manifests/all.json"
        manifest = parse_manifest(tiny_run.store.read(name), item=name)
        units = [unit for unit in manifest.units if unit["file"].startswith("units/")]
        parts = [decode_tensors(read_verified(tiny_run.store, manifest.folder, unit), "u")[0] for unit in units]
        return torch.cat([part["total_bpd_fixed_large"] for part in parts])

    thirteen, sixteen = terms(judge(config.model_copy(update={"bpd_images": 13}))), terms(tiny_run.figures)
    assert len(thirteen) == 13
    assert torch.equal(thirteen, sixteen[:13])


def test_more_than_there_are_is_all(tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]) -> None:
    config = config.model_copy(update={"bpd_images": 1 << 20, "batch_size": 64})
    assert judge(config).counts["bpd_images"] == tiny_run.dataset.test_images


def test_a_snapshot_that_is_not_finite(
    tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]
) -> None:
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    network, *_ = decode_snapshot(read_verified(tiny_run.store, trained.folder, trained.units[0]), "s")
    weights = network.state_dict()
    weights["conv_out.bias"].fill_(float("nan"))
    schedule = {"kind": "linear", "num_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.3}
    output = Output(store=tiny_run.store, plan=Plan(stage="train", format_version=1, settings={}, inputs={}))
    output.begin({})
    data = encode_snapshot(weights, network.config, schedule, 64)
    record = output.commit("snapshots/64", "safetensors", data, {})
    manifest = output.seal({"images": 64}, [{"unit": 0, "rows": 1, **record.as_json()}], {})
    broken = Snapshot(name=manifest.name, key="k", digest=manifest.digest, images_seen=64, num_timesteps=20)
    with pytest.raises(DivergedError, match="the bound is not finite") as caught:
        judge(config, {"snapshot": broken})
    assert caught.value.exit_code == 8
    assert caught.value.item == "held-out images 0..7"


def outputs_of(run: TinyRun) -> dict[str, set[str]]:
    """The sealed outputs that figures rest on, by folder."""
    return {
        stage: {path.parent.parent.name for path in run.root.glob(f"{stage}/*/manifests/*.json")}
        for stage in ("bound", "features", "classifier", "evaluate")
    }


def test_more_samples_compute_no_bound_and_no_reference(
    tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]
) -> None:
    before, bound = outputs_of(tiny_run), tiny_run.root / "bound"
    files = {path: path.stat().st_mtime_ns for path in bound.rglob("*") if path.is_file()}
    drawn = sample(tiny_run.config.sample.model_copy(update={"count": 40}), tiny_run.snapshot, tiny_run.context)
    more = judge(config, {"samples": drawn})
    assert len(judge.cluster.ran) == 1, "one chunk of the samples' features"
    after = outputs_of(tiny_run)
    assert after["bound"] == before["bound"]
    assert {path: path.stat().st_mtime_ns for path in bound.rglob("*") if path.is_file()} == files
    assert len(after["features"]) == len(before["features"]) + 1
    assert more.counts["distance_samples"] == 40
    name = "eval/bits_per_dim_fixed_large"
    assert more.metrics[name] == tiny_run.figures.metrics[name]


def test_another_network_shares_the_reference(
    tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures]
) -> None:
    before = outputs_of(tiny_run)
    other = train(tiny_run.config.train.model_copy(update={"seed": 1}), tiny_run.dataset, tiny_run.context)
    judge(config, {"snapshot": other})
    assert len(judge.cluster.ran) == 2, "two batches of the bound; both kinds of features are there"
    after = outputs_of(tiny_run)
    assert len(after["bound"]) == len(before["bound"]) + 1
    assert after["features"] == before["features"]


def test_another_extractor_computes_no_bound(
    tiny_run: TinyRun, config: EvaluateConfig, judge: Callable[..., Figures], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 30)
    before = outputs_of(tiny_run)
    judge(revised(config, {"extractor": "classifier"}))
    after = outputs_of(tiny_run)
    assert after["bound"] == before["bound"]
    assert len(after["features"]) == len(before["features"]) + 2
    assert len(after["classifier"]) == 1
