"""Two real runs: their terms per image are paired, and what their figures rest on decides what is compared."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from flows.comparison.difference import Verdict, difference
from flows.comparison.measurement import Measurement, alike, remark
from flows.comparison.reading import read_measurements
from flows.comparison.view import view_of
from flows.run import Run, compare, compare_runs, open_run
from flows.run_record import FinishedRun, RunRecord
from flows.stages.evaluate import evaluation
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.sample import sampling
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.errors import ConfigError
from infra.interval import TAIL
from infra.outputs.manifest import parse_manifest
from infra.outputs.tensors import decode_tensors
from tests.conftest import TinyRun, revised
from tests.flows.conftest import NAME
from tests.flows.stored_averages import Walk, sealed_walk


def another(first: TinyRun, name: str, **changes: dict[str, Any]) -> Run:
    """A further run at the same root, with other settings in some stages."""
    config, context = first.config, first.context
    stages = {
        stage: revised(getattr(config, stage), changes.get(stage, {})) for stage in ("train", "sample", "evaluate")
    }
    snapshot = train(stages["train"], first.dataset, context)
    samples = sample(stages["sample"], snapshot, context)
    figures = evaluate(stages["evaluate"], first.dataset, snapshot, samples, context)
    finished = FinishedRun(dataset=first.dataset, snapshot=snapshot, samples=samples, figures=figures)
    RunRecord(name=name, finished=finished).write(first.store)
    return open_run(name, first.root)


def measured(run: Run) -> dict[str, Measurement]:
    return read_measurements(run.dataset, run.snapshot, run.samples, run.figures, store=run.store)


def stored_totals(run: Run, name: str) -> np.ndarray:
    """The bound per image by the sealed bytes alone."""
    folder = run.manifests["evaluate"].facts["outputs"]["bound"]
    path = f"{folder}/manifests/all.json"
    parts = []
    for unit in parse_manifest(run.store.read(path), item=path).units:
        if unit["file"].startswith("units/"):
            parts.append(decode_tensors(run.store.read(f"{folder}/{unit['file']}"), "")[0][name].double().numpy())
    return np.concatenate(parts)


@pytest.fixture
def first(finished: TinyRun) -> Run:
    return open_run(NAME, finished.root)


class TestAnotherNetwork:
    @pytest.fixture
    def second(self, finished: TinyRun, first: Run) -> Run:
        return another(finished, "other-5e6f7a8b", train={"learning_rate": 1e-3})

    def test_the_rows_of_the_comparison(self, first: Run, second: Run) -> None:
        rows = compare([first, second])
        assert [(row["name"], row["run"], row["value"]) for row in rows if row["kind"] == "setting"] == [
            ("train.learning_rate", NAME, first.settings["train.learning_rate"]),
            ("train.learning_rate", "other-5e6f7a8b", 1e-3),
        ]
        assert {row["name"] for row in rows if row["kind"] == "input"} == {"snapshot", "samples"}
        by_name = {row["name"]: row for row in rows if row["run"] == "other-5e6f7a8b"}
        # The oracle: the paired t test's standard error, from the sealed bytes.
        apart = stored_totals(second, "total_bpd_fixed_large") - stored_totals(first, "total_bpd_fixed_large")
        found = by_name["bits_per_dim_fixed_large"]
        assert found["paired_images"] == 16
        assert found["difference"] == pytest.approx(apart.mean(), rel=1e-9)
        assert found["difference_standard_error"] == pytest.approx(apart.std(ddof=1) / 4, rel=1e-9)
        assert found["verdict"] == ("beyond" if abs(found["difference"]) > found["interval"] else "within")
        assert by_name["fd_pixels"]["verdict"] == "no interval"
        assert by_name["prior_bpd"]["verdict"] == "equal"

    def test_each_figure_is_the_mean_of_its_terms(self, first: Run) -> None:
        figures = measured(first)
        assert list(figures) == [row["name"] for row in first.table()]
        for row in first.table():
            terms = figures[row["name"]].per_image
            if row["name"].startswith("fd_pixels"):
                assert terms is None
                continue
            assert terms is not None
            assert len(terms) == 16
            assert terms.mean() == pytest.approx(row["value"], rel=1e-6)
            if row["standard_error"] is not None:
                expected = pytest.approx(row["standard_error"], rel=1e-9)
                assert figures[row["name"]].standard_error == expected

    def test_the_root_is_named_if_there_are_several(self, finished: TinyRun, first: Run, second: Run) -> None:
        names = {row["run"] for row in compare([first, second])}
        assert names == {NAME, "other-5e6f7a8b"}
        finished.root.joinpath("x").mkdir()
        elsewhere = type(second)(**(vars(second) | {"store": _Moved(second.store)}))
        assert {row["run"] for row in compare([first, elsewhere])} == {
            f"{finished.root}:{NAME}",
            "moved:other-5e6f7a8b",
        }

    def test_too_few_and_twice(self, first: Run, second: Run) -> None:
        with pytest.raises(ConfigError, match="needs two runs; got 1"):
            compare([first])
        with pytest.raises(ConfigError, match=f"{NAME}: is given twice"):
            compare([first, second, first])


class _Moved:
    """A store under another address."""

    uri = "moved"

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize(
    ("changes", "distance", "bound", "term"),
    [
        ({"sample": {"count": 32}}, "N 24 against 32: a Fréchet distance is biased by N", None, None),
        ({"evaluate": {"bpd_images": 20}}, None, "held-out images 16 against 20", "held-out images 16 against 20"),
        ({"train": {"num_timesteps": 30}}, None, None, "T 20 against 30: its terms split the bound at other points"),
        ({"sample": {"num_steps": 4}}, None, None, None),
        ({"evaluate": {"batch_size": 4, "seed": 9}}, None, None, None),
        ({"evaluate": {"bpd_draws": 2}}, None, None, None),
        ({"evaluate": {"likelihood": ["bound", "estimate"], "bpd_timesteps": 2}}, None, None, None),
        (
            {"train": {"class_conditional": True}},
            None,
            "bound given labels no against yes: a network that knows the label needs fewer bits",
            "bound given labels no against yes",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_unlike_figures(
    finished: TinyRun, first: Run, changes: dict[str, Any], distance: str | None, bound: str | None, term: str | None
) -> None:
    second = another(finished, "other-5e6f7a8b", **changes)
    before, after = measured(first), measured(second)
    for name, reason in (("fd_pixels", distance), ("bits_per_dim_fixed_large", bound), ("prior_bpd", term)):
        found = alike(before[name], after[name])
        assert (found or "").startswith(reason or "")
        assert bool(found) == bool(reason)


@pytest.mark.parametrize(("stage", "forbids"), [(sampling, False), (evaluation, True)], ids=["sample", "evaluate"])
def test_an_earlier_releases_outputs_are_told_apart(
    finished: TinyRun, first: Run, monkeypatch: pytest.MonkeyPatch, stage: ModuleType, forbids: bool
) -> None:
    """Other samples are compared with a remark; figures by other rules are another measure."""
    version = stage.FORMAT_VERSION
    monkeypatch.setattr(stage, "FORMAT_VERSION", version - 1)
    second = another(finished, "other-5e6f7a8b")
    before, after = measured(first)["fd_pixels"], measured(second)["fd_pixels"]
    words = f"rules of {stage.__name__.split('.')[-2]} {version} against {version - 1}"
    assert alike(before, after) == (words if forbids else None)
    assert (words in remark(before, after)) is not forbids
    assert words.partition(" against")[0].rpartition(" ")[0] in {
        row["name"] for row in compare([first, second]) if row["kind"] == "input"
    }


def test_an_interval_accounts_for_few_blocks(finished: TinyRun) -> None:
    """The error of the kernel distance rests on 12 pairs of blocks of 2 samples."""
    first, second = (
        measured(another(finished, f"run-{seed}", sample={"seed": seed}, evaluate={"metrics": ["kid"]}))["kid_pixels"]
        for seed in (1, 2)
    )
    assert first.terms == second.terms == 12
    errors = first.standard_error, second.standard_error
    degrees = (errors[0] ** 2 + errors[1] ** 2) ** 2 / (errors[0] ** 4 + errors[1] ** 4) * 11
    assert difference(first, second).factor == pytest.approx(t.isf(TAIL / 2, degrees), rel=0.01)


def test_estimates_from_other_numbers_of_timesteps_are_unlike(finished: TinyRun) -> None:
    runs = [
        another(finished, f"run-{count}", evaluate={"likelihood": ["estimate"], "bpd_timesteps": count})
        for count in (2, 3)
    ]
    first, second = map(measured, runs)
    name = "bits_per_dim_estimate_fixed_large"
    assert alike(first[name], second[name]) == "bpd_timesteps 2 against 3"


def test_terms_that_two_estimates_share_are_no_draws_of_noise(finished: TinyRun, first: Run) -> None:
    """The bound and its estimate both hold L_T; the figure is the bound's."""
    second = another(finished, "other-5e6f7a8b", evaluate={"likelihood": ["bound", "estimate"], "bpd_timesteps": 2})
    before, after = measured(first)["prior_bpd"], measured(second)["prior_bpd"]
    assert remark(before, after) == ""
    assert (after.remarks["draws"], after.value) == (1, before.value)


class TestLengths:
    """Figures of averages that were rebuilt after training."""

    NAME = "ema_0.1_bits_per_dim_estimate_fixed_large"

    @pytest.fixture
    def walks(self, finished: TinyRun) -> list[Walk]:
        return [sealed_walk(finished, size=size) for size in (0.01, 0.02)]

    def run(self, finished: TinyRun, walk: Walk, **changes: Any) -> dict[str, Measurement]:
        chosen = {"metrics": ["ema_lengths"], "ema_lengths": [0.1], "bpd_timesteps": 3, **changes}
        figures = evaluate(
            revised(finished.config.evaluate, chosen),
            finished.dataset,
            walk.snapshot,
            finished.samples,
            finished.context,
        )
        return read_measurements(finished.dataset, walk.snapshot, finished.samples, figures, store=finished.store)

    def test_they_are_paired_by_the_images_of_their_own_network(self, finished: TinyRun, walks: list[Walk]) -> None:
        first, second = (self.run(finished, walk)[self.NAME] for walk in walks)
        assert first.per_image is not None
        assert (len(first.per_image), first.terms) == (16, 16)
        assert first.per_image.mean() == pytest.approx(first.value, rel=1e-6)
        found = difference(first, second)
        assert (found.paired, found.unlike, found.remark) == (16, "", "")
        # Timesteps and noise are the same, so the pairs hold less spread than the images do.
        assert found.standard_error < 0.5 * first.standard_error

    def test_they_are_unlike_as_estimates_of_the_bound_are(self, finished: TinyRun, walks: list[Walk]) -> None:
        first = self.run(finished, walks[0])
        second = self.run(finished, walks[0], bpd_timesteps=2, bpd_images=12)
        for name in (self.NAME, "ema_length_best"):
            assert alike(first[name], second[name]) == "held-out images 16 against 12; bpd_timesteps 3 against 2"
        third = self.run(finished, walks[0], ema_lengths=[0.05, 0.1])
        assert alike(first[self.NAME], third[self.NAME]) is None
        assert alike(first["ema_length_best"], third["ema_length_best"]) == "EMA lengths [0.1] against [0.05, 0.1]"

    def test_neither_samples_nor_the_half_life_matter(self, finished: TinyRun, walks: list[Walk]) -> None:
        for name, found in self.run(finished, walks[0]).items():
            assert not {"samples", "extractor"} & found.conditions.keys(), name
            assert "ema" not in found.remarks, name


def test_draws_of_noise_are_averaged_image_by_image(finished: TinyRun, first: Run) -> None:
    twice = another(finished, "other-5e6f7a8b", evaluate={"bpd_draws": 2})
    figures, name = measured(twice), "bits_per_dim_fixed_large"
    bound = figures[name]
    assert bound.per_image is not None
    assert bound.per_image.mean() == pytest.approx(bound.value, rel=1e-9)
    assert bound.standard_error == pytest.approx(twice.figures.starting_with(name)[""].standard_error, rel=1e-9)
    assert figures["prior_bpd"].per_image is not None
    noise = figures[f"{name}_noise_stderr"]
    assert (noise.per_image, noise.standard_error) == (None, None)
    assert noise.conditions == bound.conditions
    assert remark(measured(first)[name], bound) == "draws of noise 1 against 2"


def test_another_extractor_is_another_figure(finished: TinyRun, first: Run) -> None:
    second = another(finished, "other-5e6f7a8b", evaluate={"extractor": "classifier"})
    view = view_of(compare_runs([first, second]))
    lines = [line for line in view.figures if line.value == "not measured"]
    assert len(lines) >= 2


def test_seeds(finished: TinyRun, first: Run) -> None:
    """Seeds of samples and of the bound: one column, whose bound is averaged over the draws image by image."""
    second = another(finished, "seed-5e6f7a8b", sample={"seed": 1}, evaluate={"seed": 2})
    other = another(finished, "other-9c0d1e2f", train={"learning_rate": 1e-3})
    rows = compare([first, second, other], seeds=True)
    merged = {row["name"]: row for row in rows if row["run"] == f"{NAME} and 1 more seed"}
    values = [measured(run)["fd_pixels"].value for run in (first, second)]
    assert merged["fd_pixels"]["value"] == pytest.approx(np.mean(values))
    assert merged["fd_pixels"]["standard_error"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(2))
    totals = np.mean([stored_totals(run, "total_bpd_fixed_large") for run in (first, second)], axis=0)
    assert merged["bits_per_dim_fixed_large"]["seeds"] == 2
    assert merged["bits_per_dim_fixed_large"]["value"] == pytest.approx(totals.mean(), rel=1e-9)
    assert merged["bits_per_dim_fixed_large"]["standard_error"] == pytest.approx(totals.std(ddof=1) / 4, rel=1e-9)
    paired = next(row for row in rows if row["run"] == "other-9c0d1e2f" and row["name"] == "bits_per_dim_fixed_large")
    assert paired["paired_images"] == 16
    assert paired["verdict"] in (Verdict.BEYOND, Verdict.WITHIN)
