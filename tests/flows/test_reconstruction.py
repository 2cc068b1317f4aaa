"""A rebuilt snapshot is the combination of stored averages that the core promises, whole and always the same."""

import itertools
from dataclasses import replace

import pytest
import torch

from ddpm_core.power_ema import PowerProfile, gamma_of, profile_weights
from flows.reconstruction import digest_of, rebuilt_snapshot, stored_averages
from flows.snapshot import decode_snapshot
from flows.stages.train import averages, commits
from flows.stages.train.training import train
from infra.digests import sha256
from infra.errors import ConfigError, InputError, IntegrityError
from infra.outputs.tensors import decode_tensors, encode_tensors
from tests.conftest import TinyRun
from tests.flows.stored_averages import BATCH, LENGTHS, Walk, sealed_walk


@pytest.mark.parametrize("sigma_rel", [0.04, 0.075, 0.15])
def test_it_is_as_near_to_the_average_itself_as_promised(tiny_run: TinyRun, sigma_rel: float) -> None:
    """Against the explicit weighted sum over all steps, by Cauchy-Schwarz around the weights' mean."""
    walk = sealed_walk(tiny_run)
    found = rebuilt_snapshot(tiny_run.store, walk.manifest, sigma_rel)
    weights, _ = decode_tensors(found.data, "rebuilt")
    length = float(profile_weights(PowerProfile(48, gamma_of(sigma_rel)), 1, 48).norm())
    assert 0 < found.relative_error < 0.1
    for name, expected in walk.average(sigma_rel).items():
        steps = torch.stack([step[name].double() for step in walk.weights])
        spread = (steps - steps.mean(0)).norm()
        rounding = 2.0**-22 * found.amplification * float(steps[-1].norm())
        distance = float((weights[name].double() - expected).norm())
        assert distance <= found.relative_error * length * float(spread) + rounding
    assert found.points == 8


@pytest.mark.parametrize("index", [0, 1])
def test_a_stored_length_is_the_stored_average_bit_for_bit(tiny_run: TinyRun, index: int) -> None:
    walk = sealed_walk(tiny_run)
    found = rebuilt_snapshot(tiny_run.store, walk.manifest, LENGTHS[index])
    last = walk.manifest.facts["averages"][-1]
    stored, _ = decode_tensors(tiny_run.store.read(f"{walk.manifest.folder}/{last['file']}"), "stored")
    weights, _ = decode_tensors(found.data, "rebuilt")
    assert found.relative_error == 0
    assert all(torch.equal(weight, stored[f"{index}/{name}"]) for name, weight in weights.items())


def test_it_is_a_snapshot_like_the_runs_own_and_names_its_length(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    rebuilt = rebuilt_snapshot(tiny_run.store, walk.manifest, 0.15)
    unit = walk.manifest.units[0]
    own = tiny_run.store.read(f"{walk.manifest.folder}/{unit['file']}")
    loaded, before = decode_snapshot(rebuilt.data, "rebuilt"), decode_snapshot(own, "own")
    assert loaded.network.config == before.network.config
    assert torch.equal(loaded.schedule.betas, before.schedule.betas)
    assert loaded[2:] == before[2:]
    assert decode_tensors(rebuilt.data, "")[1] == decode_tensors(own, "")[1] | {"sigma_rel": 0.15}
    assert rebuilt.facts == {
        "sigma_rel": 0.15,
        "relative_error": rebuilt.relative_error,
        "amplification": rebuilt.amplification,
        "points": 8,
    }


def test_threads_change_no_bit(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    once = rebuilt_snapshot(tiny_run.store, walk.manifest, 0.2)
    torch.set_num_threads(2)
    assert rebuilt_snapshot(tiny_run.store, walk.manifest, 0.2) == once


def test_only_so_many_points_are_read_and_the_last_is_among_them(tiny_run: TinyRun) -> None:
    entry = {"steps": 1, "sigma_rels": [0.1], "file": "a", "bytes": 1}
    entries = [entry | {"images_seen": n, "steps": n, "sha256": str(n)} for n in range(200, -1, -1)]
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    points = stored_averages(replace(trained, facts={"images_seen": 200, "averages": entries}))
    assert [points[0].steps, points[-1].steps, len(points)] == [1, 200, 64]
    gaps = {after.steps - before.steps for before, after in itertools.pairwise(points)}
    assert gaps <= {3, 4}
    few = stored_averages(replace(trained, facts={"images_seen": 200, "averages": entries[:9]}))
    assert [point.steps for point in few] == list(range(192, 201))
    assert digest_of(points) != digest_of(few)


@pytest.mark.parametrize("facts", [{}, {"averages": []}, {"averages": "another goal's"}])
def test_a_training_without_averages_is_refused_with_the_way_to_get_them(tiny_run: TinyRun, facts: dict) -> None:
    walk = sealed_walk(tiny_run)
    if facts.get("averages"):
        facts = {"averages": walk.manifest.facts["averages"][:-1]}
    trained = replace(walk.manifest, facts={"images_seen": 48 * BATCH} | facts)
    with pytest.raises(InputError, match=r"stored no averages .* train\.averages=true"):
        rebuilt_snapshot(tiny_run.store, trained, 0.1)


def test_a_length_that_no_average_has_is_refused(tiny_run: TinyRun) -> None:
    with pytest.raises(ConfigError, match=r"EMA length: sigma_rel must be above 0 and at most 0\.2887; got 0\.3"):
        rebuilt_snapshot(tiny_run.store, sealed_walk(tiny_run).manifest, 0.3)


def damage(run: TinyRun, walk: Walk, number: int) -> None:
    file = f"{walk.manifest.folder}/{walk.manifest.facts['averages'][number]['file']}"
    run.store.replace(file, run.store.read(file)[:-1] + b"?")


def test_a_length_is_rebuilt_without_damaged_files_and_says_so(
    tiny_run: TinyRun, caplog: pytest.LogCaptureFixture
) -> None:
    """As if those points had never been: bit for bit, and less exact than with them."""
    walk = sealed_walk(tiny_run)
    entries = walk.manifest.facts["averages"]
    without = replace(walk.manifest, facts=walk.manifest.facts | {"averages": [*entries[:2], *entries[4:]]})
    whole, expected = (rebuilt_snapshot(tiny_run.store, of, 0.2) for of in (walk.manifest, without))
    assert caplog.messages == []
    damage(tiny_run, walk, 3)
    tiny_run.store.delete(f"{walk.manifest.folder}/{entries[2]['file']}")
    found = rebuilt_snapshot(tiny_run.store, walk.manifest, 0.2)
    assert found == replace(expected, left_out=[3 * 6 * BATCH, 4 * 6 * BATCH])
    assert found.relative_error > whole.relative_error
    assert found.facts == expected.facts | {"left_out": [288, 384]}
    words = "EMA lengths are rebuilt without the averages at 288, 384 images, which are damaged"
    assert caplog.messages == [f"{walk.manifest.folder}: {words}"]


def test_damage_at_the_end_of_training_is_refused(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    damage(tiny_run, walk, -1)
    with pytest.raises(IntegrityError, match=r"differs from its digest - restore .* or do without EMA lengths"):
        rebuilt_snapshot(tiny_run.store, walk.manifest, 0.2)


def test_averages_of_another_network_are_refused(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    other = {"0/weight": torch.ones(2), "1/weight": torch.ones(2)}
    data = encode_tensors(other, {})
    tiny_run.store.put_if_absent(f"{walk.manifest.folder}/averages/other.safetensors", data)
    entries = walk.manifest.facts["averages"]
    entry = entries[0] | {"file": "averages/other.safetensors", "sha256": sha256(data), "bytes": len(data)}
    trained = replace(walk.manifest, facts=walk.manifest.facts | {"averages": [entry, *entries[1:]]})
    with pytest.raises(IntegrityError, match="holds other weights than the snapshot"):
        rebuilt_snapshot(tiny_run.store, trained, 0.2)


def test_a_real_training_rebuilds_the_average_that_another_length_would_have_kept(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same training again, but keeping the wanted lengths: its own stored averages are what the first rebuilds."""
    trained = tiny_run.snapshot.manifest(tiny_run.store)
    lengths = (0.075, 0.12)
    monkeypatch.setattr(averages, "SIGMA_RELS", lengths)
    monkeypatch.setattr(commits, "SIGMA_RELS", lengths)
    again = train(tiny_run.config.train, tiny_run.dataset, replace(tiny_run.context, force=True))
    kept = again.manifest(tiny_run.store)
    assert kept.digest == trained.digest
    assert kept.folder != trained.folder
    for length in lengths:
        found = rebuilt_snapshot(tiny_run.store, trained, length)
        exact = rebuilt_snapshot(tiny_run.store, kept, length)
        assert (found.relative_error > 0, exact.relative_error) == (True, 0)
        rebuilt, expected = (decode_tensors(one.data, "snapshot")[0] for one in (found, exact))
        first, last = _flat(rebuilt), _flat(expected)
        own = decode_tensors(tiny_run.store.read(f"{trained.folder}/{trained.units[0]['file']}"), "own")[0]
        assert 0 < (first - last).norm() < 0.01 * (_flat(own) - last).norm()


def _flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])
