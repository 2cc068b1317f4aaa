"""The provenance of a figure names exactly what it rests on, and follows from manifests alone."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from ddpm_core.images import to_uint8
from flows.provenance import Provenance, provenance_of, read_provenance
from flows.run import open_run
from flows.run_record import RunRecord
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.evaluate.stage import EVALUATE
from infra.outputs.manifest import Manifest, root_digest
from tests.conftest import TinyRun, revised
from tests.flows.stored_averages import sealed_walk

HERE = {"device": "a CPU", "python": "3"}


def sealed(
    stage: str, settings: dict[str, Any], facts: dict[str, Any], *inputs: Manifest, on: str = "a CPU"
) -> Manifest:
    """A manifest that no store holds; its digest is a function of its place alone."""
    units = [{"sha256": f"{stage} {settings}", "rows": 1}]
    plan = {"stage": stage, "format_version": 1, "settings": settings}
    return Manifest(
        stage=stage,
        key="0" * 20,
        folder=f"{stage}/{sorted(settings.items())}",
        goal={},
        units=units,
        facts=facts,
        digest=root_digest(units),
        plan=plan | {"inputs": {f"input {number}": one.digest for number, one in enumerate(inputs)}},
        environment={"device": on, "python": "3"},
    )


DATA = sealed("prepare", {}, {"images": {"train": 90, "test": 10}, "settings": {"kind": "digits"}, "fit": "cut"})
EMA = {"ema_halflife_images": 500.0, "ema_rampup_ratio": 0.05}
NETWORK = sealed("train", {}, {"images_seen": 2000, "num_timesteps": 20, "settings": EMA}, DATA, on="a GPU")
SAMPLES = sealed(
    "sample", {}, {"images": 24, "settings": {"sampler": "ddim", "num_steps": 0, "seed": 7}}, NETWORK, on="a GPU"
)
FITTED = sealed("classifier", {}, {"accuracy": 0.9}, DATA)
READ = sealed("weights", {}, {"sha256": "6726825d"})
REFERENCE = sealed("features", {"extractor": "pixels", "split": "train"}, {}, DATA)
DRAWN = sealed("features", {"extractor": "pixels", "split": "samples"}, {}, SAMPLES)
BOUND = sealed("bound", {"bpd_images": 4}, {}, DATA, NETWORK)
ALL = (DATA, NETWORK, SAMPLES, FITTED, READ, REFERENCE, DRAWN, BOUND)


REBUILT_FACTS = {"images_seen": 2000, "num_timesteps": 20, "settings": EMA, "sigma_rel": 0.15}


def found(*rests_on: Manifest, known: tuple[Manifest, ...] = ALL, **more: Any) -> Provenance:
    given = {"counts": {}, "settings": {}, "rules": {}, "environment": HERE} | more
    return provenance_of(["figure"], rests_on=rests_on, known=known, **given)


def test_a_bound_rests_on_held_out_images_and_no_samples() -> None:
    bound = found(BOUND)
    assert bound.data == {"name": "digits", "digest": DATA.digest, "splits": {"test": 10}}
    assert (bound.samples, bound.extractor) == ({}, {})
    assert list(bound.environments) == ["bound", "prepare", "train", "evaluate"]


def test_a_distance_rests_on_samples_and_on_the_training_split() -> None:
    distance = found(REFERENCE, DRAWN, rules={"features": "halved"})
    assert distance.data["splits"] == {"train": 90}
    assert distance.samples == {"sampler": "ddim", "num_steps": 20, "seed": 7, "count": 24, "digest": SAMPLES.digest}
    assert distance.network["digest"] == NETWORK.digest
    assert distance.extractor == {"name": "pixels"}
    assert list(distance.rules) == ["preparation", "samples", "features"]
    assert (distance.rules["preparation"], distance.rules["features"]) == ("cut", "halved")


def test_samples_are_rounded_as_the_rule_says() -> None:
    rule = found(DRAWN).rules["samples"]
    assert rule.endswith("(x + 1) * 127.5 rounded to the nearest integer, ties to even")
    x = torch.tensor([-2.0, -1.0, 0.4 / 127.5 - 1, 0.0, 2.6 / 127.5 - 1, 2.0], dtype=torch.float64)
    assert to_uint8(x.reshape(1, 1, 1, 6)).flatten().tolist() == [0, 0, 0, 128, 3, 255]
    assert "samples" not in found(BOUND).rules


OTHER = sealed("prepare", {"kind": "folder"}, {"images": {"train": 7, "test": 3}, "settings": {"kind": "folder"}})
FROM_OTHER = sealed("features", {"extractor": "pixels", "split": "test"}, {}, OTHER)


def test_every_data_set_that_was_measured_is_listed_by_its_role() -> None:
    roles = {OTHER.digest: "samples", DATA.digest: "reference"}
    both = found(REFERENCE, FROM_OTHER, known=(*ALL, OTHER), roles=roles)
    assert both.data == {}
    assert both.datasets == {
        "samples": {"name": "folder", "digest": OTHER.digest, "splits": {"test": 3}},
        "reference": {"name": "digits", "digest": DATA.digest, "splits": {"train": 90}},
    }
    assert both.rules == {"preparation of reference": "cut"}, "the other states none"
    rows = dict(both.rows())
    assert rows["split of samples"] == "test (3 images)"
    assert rows["data of reference"].startswith("digits, digest")
    assert both.as_json()["datasets"] == both.datasets


def test_the_data_of_a_network_were_not_measured() -> None:
    """A score of a run's samples against other images."""
    against = found(FROM_OTHER, DRAWN, known=(*ALL, OTHER), roles={OTHER.digest: "reference"})
    assert (against.data["digest"], against.datasets) == (OTHER.digest, {})
    assert against.samples["digest"] == SAMPLES.digest


def test_two_splits_of_one_data_set_are_one() -> None:
    held_out = sealed("features", {"extractor": "pixels", "split": "test"}, {}, DATA)
    one = found(REFERENCE, held_out, known=(*ALL, held_out), roles={DATA.digest: "samples"})
    assert one.data["splits"] == {"train": 90, "test": 10}
    assert "datasets" not in one.as_json(), "the record of a run stays as it was"


def test_what_lies_between_is_followed() -> None:
    """A figure from statistics of features rests on all that the features rest on."""
    statistics = sealed("statistics", {}, {}, DRAWN)
    assert found(statistics).samples["digest"] == SAMPLES.digest


@pytest.mark.parametrize(("weights", "digest"), [(FITTED, FITTED.digest), (READ, "6726825d")])
def test_the_digest_of_an_extractor(weights: Manifest, digest: str) -> None:
    """A file of weights is known by its own sha256, fitted weights by that of the sealed output."""
    features = sealed("features", {"extractor": "x", "split": "train"}, {}, DATA, weights)
    assert found(features).extractor == {"name": "x", "digest": digest}
    assert found(features).data["splits"] == {"train": 90}, "the weights' own data are no split that is compared"


@pytest.mark.parametrize(("seen", "length"), [(2000, 100.0), (10_000, 500.0), (20_000, 500.0)])
def test_the_ema_length_is_the_one_at_the_end_of_training(seen: int, length: float) -> None:
    """The half-life grows with the run up to its bound."""
    network = replace(NETWORK, facts=NETWORK.facts | {"images_seen": seen})
    known = (DATA, network)
    assert found(BOUND, known=known).network["ema_halflife_images"] == length


def test_an_input_that_is_not_known_is_left_out() -> None:
    bound = found(BOUND, known=())
    assert (bound.data, bound.network) == ({}, {})
    assert [name for name, _ in bound.rows()] == ["versions", "hardware"]


def test_different_hardware_is_named_by_stage() -> None:
    rows = dict(found(DRAWN).rows())
    assert rows["hardware"] == "a CPU (features, prepare, evaluate); a GPU (sample, train)"
    assert rows["versions"] == "python 3"
    alike = replace(NETWORK, environment=HERE)
    assert dict(found(BOUND, known=(DATA, alike)).rows())["hardware"] == "a CPU"


def test_the_evaluation_seals_it_for_each_figure(tiny_run: TinyRun) -> None:
    manifest = tiny_run.figures.manifest(tiny_run.store)
    distance, bound = read_provenance(manifest)
    assert [*distance.figures, *bound.figures] == [figure.name for figure in tiny_run.figures.figures]
    train = tiny_run.snapshot.manifest(tiny_run.store)
    for part in (distance, bound):
        assert part.data["digest"] == tiny_run.dataset.digest
        assert part.network["digest"] == tiny_run.snapshot.digest
        assert part.network["ema_halflife_images"] == 0.1 * 1280, "the ramp-up of the preset has not ended"
        assert part.environments["train"] == [train.environment]
        assert part.rules["preparation"] == tiny_run.dataset.manifest(tiny_run.store).facts["fit"]
    assert distance.data["splits"] == {"train": tiny_run.dataset.train_images}
    assert bound.data["splits"] == {"test": tiny_run.dataset.test_images}
    assert distance.samples["digest"] == tiny_run.samples.digest
    assert [distance.samples[name] for name in ("sampler", "num_steps", "seed", "count")] == ["ddpm", 5, 0, 24]
    assert distance.extractor == {"name": "pixels"}
    assert distance.rules["features"] == "divided by 255; averaged down to at most 16x16; not rounded"
    assert distance.counts == {"distance_samples": 24}
    assert bound.counts == {"bpd_images": 16}
    used = {"bpd_images": 16, "batch_size": 8, "seed": 0}
    assert {name: bound.settings[name] for name in used} == used
    assert (bound.samples, bound.extractor) == ({}, {})


def test_a_fitted_extractor_is_known_by_its_digest(tiny_run: TinyRun) -> None:
    config = revised(tiny_run.config.evaluate, {"metrics": ["fd"], "extractor": "classifier"})
    figures = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    distance, accuracy = read_provenance(figures.manifest(tiny_run.store))
    (folder,) = {name.split("/")[1] for name in tiny_run.store.list("classifier")}
    weights = json.loads(tiny_run.store.read(f"classifier/{folder}/manifests/all.json"))
    assert distance.extractor == {"name": "classifier", "digest": weights["digest"]}
    assert accuracy.figures == ("accuracy_classifier",)
    assert accuracy.data["splits"] == {"test": tiny_run.dataset.test_images}
    assert (accuracy.network, accuracy.samples) == ({}, {}), "it was fitted to the data alone"


def test_the_same_from_python_and_as_a_file(tiny_run: TinyRun) -> None:
    RunRecord(name="digits-1a2b3c4d", finished=tiny_run.finished).write(tiny_run.store)
    by_name = open_run("1a2b3c4d", tiny_run.root).provenance()
    assert list(by_name) == [figure.name for figure in tiny_run.figures.figures]
    inputs = tiny_run.dataset, tiny_run.snapshot, tiny_run.samples
    account = EVALUATE.account(tiny_run.config.evaluate, tiny_run.figures, inputs, tiny_run.store)
    filed = json.loads(account.files["provenance.json"])
    assert [by_name["fd_pixels"].as_json(), by_name["prior_bpd"].as_json()] == filed


def test_figures_sealed_before_have_none(tiny_run: TinyRun) -> None:
    manifest = tiny_run.figures.manifest(tiny_run.store)
    facts = {name: value for name, value in manifest.facts.items() if name != "provenance"}
    assert read_provenance(replace(manifest, facts=facts)) == ()


def test_an_output_of_several_environments_names_each() -> None:
    periods = [
        {"environment": {"device": "a GPU", "python": "3"}, "after": {}},
        {"environment": {"device": "another GPU", "python": "4"}, "after": {"images": 48}},
    ]
    moved = replace(NETWORK, facts=NETWORK.facts | {"environments": periods})
    provenance = found(BOUND, known=(DATA, moved, BOUND))
    assert provenance.environments["train"] == [period["environment"] for period in periods]
    rows = dict(provenance.rows())
    assert "another GPU (train)" in rows["hardware"]
    assert "python 4 (train)" in rows["versions"]


def test_the_network_that_training_started_from_is_named() -> None:
    initial = {"source": "models:/digits@champion", "place": "models:/digits/3", "digest": "ab" * 32}
    started = replace(NETWORK, facts=NETWORK.facts | {"initial": initial})
    part = found(BOUND, known=(DATA, started))
    assert part.network["initial"] == initial
    assert ("initial network", "models:/digits/3, digest abababababab") in part.rows()
    assert "initial network" not in dict(found(BOUND).rows())


def on(network: Manifest, stage: str, **settings: Any) -> Manifest:
    """An output that measures a network on held-out images, with the proposal of the run's own."""
    manifest = sealed(stage, settings | {"of": network.digest}, {}, DATA, PROPOSAL)
    inputs = manifest.plan["inputs"] | {"snapshot": network.digest}
    return replace(manifest, plan=manifest.plan | {"inputs": inputs})


PROPOSAL = replace(sealed("proposal", {}, {}, DATA, NETWORK), units=[{"sha256": "x", "rows": 8}])
SHORT, LONG = (
    replace(rebuilt, plan=rebuilt.plan | {"inputs": {"snapshot": NETWORK.digest}})
    for rebuilt in (
        sealed("rebuilt", {"sigma_rel": length}, REBUILT_FACTS | {"sigma_rel": length}, NETWORK)
        for length in (0.05, 0.15)
    )
)


def test_a_length_is_of_its_rebuilt_network_and_the_best_of_them_of_the_runs_own() -> None:
    own, short, long = on(NETWORK, "estimate"), on(SHORT, "rebuilt_estimate"), on(LONG, "rebuilt_estimate")
    known = (*ALL, PROPOSAL, SHORT, LONG)
    of_length = found(long, known=known)
    assert of_length.network["digest"] == LONG.digest
    assert (of_length.network["rebuilt_from"], of_length.network["sigma_rel"]) == (NETWORK.digest, 0.15)
    assert "ema_halflife_images" not in of_length.network
    rows = dict(of_length.rows())
    assert rows["EMA length"] == f"0.15 of training, rebuilt from digest {NETWORK.digest[:12]}"
    for outputs in ((PROPOSAL, SHORT, LONG, own, short, long), (PROPOSAL, SHORT, own, short)):
        best = found(*outputs, known=known)
        assert (best.network["digest"], "sigma_rel" in best.network) == (NETWORK.digest, False)


def test_a_proposal_is_fitted_on_training_images_and_measures_none() -> None:
    estimate = found(PROPOSAL, on(NETWORK, "estimate"), known=(*ALL, PROPOSAL))
    assert estimate.data["splits"] == {"test": 10}
    assert estimate.rules["timesteps"] == "drawn by a distribution that is fitted on the first 8 training images"
    assert "timesteps" not in found(BOUND).rules
    alone = found(PROPOSAL, known=(*ALL, PROPOSAL))
    assert alone.data["splits"] == {}, "it was the held-out split before"


def test_each_length_has_a_part_of_its_own(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    changes = {"metrics": ["ema_lengths"], "ema_lengths": [0.04, 0.1], "bpd_timesteps": 3, "bpd_images": 12}
    config = revised(tiny_run.config.evaluate, changes)
    figures = evaluate(config, tiny_run.dataset, walk.snapshot, tiny_run.samples, tiny_run.context)
    best, *lengths = read_provenance(figures.manifest(tiny_run.store))
    assert best.figures == ("ema_length_best",)
    assert best.network["digest"] == walk.snapshot.digest
    assert [part.network["sigma_rel"] for part in lengths] == [0.04, 0.1]
    assert len({part.network["digest"] for part in (best, *lengths)}) == 3
    for part, length in zip(lengths, (0.04, 0.1), strict=True):
        assert all(name.startswith(f"ema_{length}_") for name in part.figures)
        assert part.data["splits"] == {"test": tiny_run.dataset.test_images}
        assert "rebuilt" in part.environments
    named = [name for part in (best, *lengths) for name in part.figures]
    assert sorted(named) == sorted(figure.name for figure in figures.figures)
