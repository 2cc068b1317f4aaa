"""A rebuilt snapshot is an output of its own, whose key depends on averages and length alone."""

from dataclasses import replace

import pytest

from flows.artifacts import Snapshot
from flows.metrics.metric import Subject
from flows.metrics.rebuilt_works import rebuilt_works
from flows.metrics.together import Work, seal_together
from flows.reconstruction import rebuilt_snapshot
from infra.compute.units import Workers
from infra.errors import InputError
from infra.outputs.manifest import Manifest, read_verified
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject
from tests.flows.stored_averages import Walk, sealed_walk


def about(run: TinyRun, walk: Walk, **settings: object) -> Subject:
    return replace(subject(run, settings), trained=(walk.snapshot, run.dataset))


def test_it_seals_the_rebuilt_file_as_a_snapshot(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    (work,) = rebuilt_works(about(tiny_run, walk), [0.15])
    manifest = sealed(tiny_run, work)
    expected = rebuilt_snapshot(tiny_run.store, walk.manifest, 0.15)
    assert read_verified(tiny_run.store, manifest.folder, manifest.units[0]) == expected.data
    assert manifest.facts.items() >= expected.facts.items()
    snapshot = Snapshot.of(manifest)
    assert (snapshot.images_seen, snapshot.num_timesteps) == (768, tiny_run.snapshot.num_timesteps)
    assert work.label == "rebuilt_0.15"


def test_its_key_depends_on_averages_and_length_alone(tiny_run: TinyRun) -> None:
    walk = sealed_walk(tiny_run)
    key = rebuilt_works(about(tiny_run, walk), [0.15])[0].plan.key
    assert rebuilt_works(about(tiny_run, walk, bpd_images=3, seed=1, batch_size=2), [0.15])[0].plan.key == key
    assert rebuilt_works(about(tiny_run, walk), [0.2])[0].plan.key != key
    other = sealed_walk(tiny_run, points=4)
    assert other.snapshot.digest == walk.snapshot.digest
    assert rebuilt_works(about(tiny_run, other), [0.15])[0].plan.key != key


def sealed(run: TinyRun, work: Work) -> Manifest:
    return seal_together([work], run.context, stage="evaluate", workers=lambda _: Workers())[0]


def test_a_damaged_file_makes_another_output_of_the_others(tiny_run: TinyRun) -> None:
    """A length that was sealed before the damage needs no file any more and keeps its key."""
    walk = sealed_walk(tiny_run)
    before = rebuilt_works(about(tiny_run, walk), [0.15, 0.2])
    sealed(tiny_run, before[0])
    entry = walk.manifest.facts["averages"][2]
    tiny_run.store.replace(f"{walk.manifest.folder}/{entry['file']}", b"")
    after = rebuilt_works(about(tiny_run, walk), [0.15, 0.2])
    assert after[0].plan == before[0].plan
    assert after[1].plan != before[1].plan
    facts = sealed(tiny_run, after[1]).facts
    assert (facts["points"], facts["left_out"]) == (7, [entry["images_seen"]])


def test_a_training_without_averages_is_refused(tiny_run: TinyRun) -> None:
    with pytest.raises(InputError, match="stored no averages"):
        rebuilt_works(about(tiny_run, sealed_walk(tiny_run, averages=False)), [0.15])
