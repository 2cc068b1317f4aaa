"""The records between stages lead to what was sealed, or to an error that says it is not that any more."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.artifacts import (
    Artifact,
    Dataset,
    Figure,
    Figures,
    Samples,
    Snapshot,
    artifact_from_json,
    figure_text,
    number_text,
)
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


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3.14159, 0.00123, "3.1416"),
        (314.159, 12.3, "314"),
        (-0.00001, 0.0021, "0.0000"),
        (3.14159, None, "3.1416"),
        (123456.0, None, "1.2346e+05"),
        (0.0004, None, "0.0004"),
        (3.14159, 0.0, "3.1416"),
        (3.14159, float("nan"), "3.1416"),
        (float("inf"), 1.0, "inf"),
        (0.00012, 1e-12, "0.000120000"),
    ],
)
def test_digits(value: float, error: float | None, text: str) -> None:
    assert number_text(value, error) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (4.67056, 0.04673, "4.671 ± 0.047"),
        (0.0004, 0.00021, "0.00040 ± 0.00021"),
        (1317.818, 346.619, "1318 ± 347"),
        (1.0, 0.0, "1 ± 0"),
        (12.34567, None, "12.346"),
    ],
)
def test_a_figure_shows_two_digits_of_its_error(value: float, error: float | None, text: str) -> None:
    assert figure_text(Figure(name="kid_pixels", value=value, standard_error=error, label="", note="")) == text
