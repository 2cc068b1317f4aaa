"""The records between stages lead to what was sealed, or to an error that says it is not that any more."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.artifacts import Artifact, Dataset, Figure, Figures, Samples, Snapshot, artifact_from_json
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[LocalStore, Manifest, Artifact]:
    store = open_store(str(tmp_path))
    output = Output(store=store, plan=Plan(stage="s", format_version=1, settings={}, inputs={}))
    output.begin({})
    record = output.commit("units/000000", "bin", b"x", {})
    manifest = output.seal({"count": 3}, [{"unit": 0, "rows": 3, **record.as_json()}], {})
    return store, manifest, Artifact(name=manifest.name, key=manifest.key, digest=manifest.digest)


def test_it_leads_to_its_manifest(sealed: tuple[LocalStore, Manifest, Artifact]) -> None:
    store, manifest, artifact = sealed
    assert artifact.manifest(store) == manifest


def test_a_manifest_that_is_gone(sealed: tuple[LocalStore, Manifest, Artifact]) -> None:
    store, manifest, artifact = sealed
    store.delete(manifest.name)
    with pytest.raises(IntegrityError, match="is missing") as caught:
        artifact.manifest(store)
    assert caught.value.item == manifest.name
    assert caught.value.remedy


def test_a_manifest_of_something_else(sealed: tuple[LocalStore, Manifest, Artifact]) -> None:
    store, _, artifact = sealed
    with pytest.raises(IntegrityError, match="another digest"):
        replace(artifact, digest="0" * 64).manifest(store)


COMMON = {"name": "n", "key": "k", "digest": "d"}
RECORDS = [
    Dataset(**COMMON, train_images=3, test_images=2, image_size=8, channels=1, class_names=("a", "b"), levels=17),
    Snapshot(**COMMON, images_seen=640, num_timesteps=20),
    Samples(**COMMON, count=5),
    Figures(
        **COMMON,
        figures=(Figure(name="fd_pixels", value=1.5, label="fd_pixels", note="Fréchet distance"),),
        counts={"distance_samples": 24},
        extractor="pixels",
    ),
]


@pytest.mark.parametrize("artifact", RECORDS, ids=lambda a: type(a).__name__)
def test_records_travel_as_json(artifact: Artifact) -> None:
    assert artifact_from_json(type(artifact), json.loads(json.dumps(asdict(artifact)))) == artifact


@pytest.mark.parametrize("artifact", RECORDS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("change", [{"key": 7}, {"reused": "no"}, {"unheard_of": 1}], ids=str)
def test_other_json_is_refused(artifact: Artifact, change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match=f"is not a {type(artifact).__name__} record"):
        artifact_from_json(type(artifact), json.loads(json.dumps(asdict(artifact) | change)))
