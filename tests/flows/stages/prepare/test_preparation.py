"""Prepare: every image read is written, by units whose bytes depend on nothing but the images and the settings."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.artifacts import Dataset
from flows.nodes.environment import Environment
from flows.stage import Context, Progress
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.compute.cluster import Cluster
from infra.digests import sha256
from infra.errors import ConflictError, InputError, IntegrityError, Term
from infra.outputs.environments import periods_of
from infra.outputs.manifest import verify
from infra.sources.files.file_set import FileSet

COUNT = 40


@dataclass
class Arranged(Cluster):
    """Runs units in this process, in another order, after something else has happened, or only some of them."""

    order: Callable[[Sequence[int]], Sequence[int]] = tuple
    first: Callable[[], object] = tuple
    stop_after: int = 10**6

    def run_units(self, task: object, units: Sequence[int], **more: object) -> None:
        self.first()
        self.ran = list(self.order(units))[: self.stop_after]
        super().run_units(task, self.ran, **more)
        if self.stop_after < len(units):
            raise KeyboardInterrupt


def arranged(context: Context, **how: object) -> Context:
    return replace(context, cluster=Arranged(mode="in-process", **how))


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for number in range(COUNT):
        path = folder / ("odd" if number % 2 else "even") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(path)
    return folder


@pytest.fixture
def config(images: Path) -> PrepareConfig:
    return PrepareConfig(source=str(images), image_size=8, holdout=0.25, unit_images=7)


def one_phase(config: PrepareConfig) -> PrepareConfig:
    """Return a config that needs no look for the images to hold out before the work proper."""
    return config.model_copy(update={"holdout": 0})


def rows(dataset: Dataset, context: Context) -> list[dict[str, object]]:
    manifest = dataset.manifest(context.store)
    root = Path(context.store.uri) / manifest.folder
    return [row for unit in manifest.units for row in pq.read_table(root / unit["file"]).to_pylist()]


def test_read_is_written(config: PrepareConfig, images: Path, make_context: Callable[..., Context]) -> None:
    context = make_context()
    dataset = prepare(config, context)
    written = rows(dataset, context)
    assert sorted(row["id"] for row in written) == list(range(COUNT))
    for split in ("train", "test"):
        names = [row["name"] for row in written if row["split"] == split]
        assert names == sorted(names), "the source's order"
    assert sorted(row["name"] for row in written) == sorted(str(p.relative_to(images)) for p in images.rglob("*.png"))
    for row in written:
        number = int(Path(str(row["name"])).stem)
        assert row["image"] == pixels(number).transpose(2, 0, 1).tobytes()
        assert row["label"] == number % 2
        assert row["sha256"] == sha256((images / str(row["name"])).read_bytes())
    assert dataset.class_names == ("even", "odd")
    assert (dataset.train_images + dataset.test_images, dataset.image_size, dataset.channels) == (COUNT, 8, 3)
    assert dataset.levels == len(np.unique([pixels(number) for number in range(COUNT)]))
    manifest = dataset.manifest(context.store)
    verify(context.store, manifest)
    schema = json.loads((Path(__file__).parents[4] / "infra" / "outputs" / "manifest.schema.json").read_text())
    jsonschema.validate(json.loads(context.store.read(manifest.name)), schema)


def test_a_unit_holds_the_next_entries(config: PrepareConfig, make_context: Callable[..., Context]) -> None:
    """Each split in a file of its own, with the part's number; ids count up from the part's first entry."""
    context = make_context()
    manifest = prepare(config, context).manifest(context.store)
    whole = sorted(f"{'odd' if n % 2 else 'even'}/{n:02d}.png" for n in range(COUNT))
    found: dict[int, list[tuple[int, str]]] = {}
    for unit in manifest.units:
        table = pq.read_table(Path(context.store.uri) / manifest.folder / unit["file"])
        assert (len(table), table["id"][0].as_py()) == (unit["rows"], unit["facts"]["first_id"])
        assert set(table["split"].to_pylist()) == {unit["facts"]["split"]}
        found.setdefault(unit["unit"], []).extend(zip(table["id"].to_pylist(), table["name"].to_pylist(), strict=True))
    assert sorted(found) == list(range(6))
    for unit, rows_of_it in found.items():
        part = whole[unit * 7 : unit * 7 + 7]
        assert sorted(name for _, name in rows_of_it) == part
        assert [number for number, _ in rows_of_it] == list(range(unit * 7, unit * 7 + len(part)))
    assert [unit["facts"]["split"] for unit in manifest.units] == ["train"] * 6 + ["test"] * (len(manifest.units) - 6)


def test_the_split_is_by_content(config: PrepareConfig, images: Path, make_context: Callable[..., Context]) -> None:
    """Held out is what hashes below the fraction, and that alone."""
    context = make_context()
    dataset = prepare(config, context)
    expected = {
        str(path.relative_to(images)): int(sha256(path.read_bytes())[:8], 16) / 2**32 < 0.25
        for path in images.rglob("*.png")
    }
    assert {row["name"]: row["split"] == "test" for row in rows(dataset, context)} == expected
    assert 0 < dataset.test_images == sum(expected.values()) < COUNT / 2


def test_the_digest_does_not_depend_on_where_the_folder_is(
    config: PrepareConfig, images: Path, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    shutil.copytree(images, tmp_path / "elsewhere" / "copy")
    one = prepare(config, make_context(tmp_path / "a"))
    moved = config.model_copy(update={"source": str(tmp_path / "elsewhere" / "copy"), "workers": 3})
    other = prepare(moved, make_context(tmp_path / "b"))
    assert (one.key, one.digest, one.name) == (other.key, other.digest, other.name)
    assert prepare(moved, make_context(tmp_path / "a")).reused


@pytest.mark.parametrize("order", [lambda u: u[::-1], lambda u: [*u[1::2], *u[::2]], lambda u: [*u, *u]])
def test_nor_on_the_order_of_the_units_or_on_repeats(
    config: PrepareConfig, tmp_path: Path, make_context: Callable[..., Context], order: object
) -> None:
    plain = make_context(tmp_path / "a")
    other = arranged(make_context(tmp_path / "b"), order=order)
    assert prepare(config, plain).digest == prepare(config, other).digest


@pytest.mark.parametrize("change", [{"holdout": 0.3}, {"image_size": 4}, {"channels": 1}, {"unit_images": 8}], ids=str)
def test_every_setting_gives_another_key(
    config: PrepareConfig, make_context: Callable[..., Context], change: dict[str, object]
) -> None:
    context = make_context()
    one, other = prepare(config, context), prepare(config.model_copy(update=change), context)
    assert one.key != other.key
    assert one.digest != other.digest


@pytest.mark.parametrize("change", ["an image", "its time", "one more", "one less"])
def test_a_changed_source_gives_another_key_and_the_sealed_one_stays(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context], change: str
) -> None:
    context = make_context()
    before = prepare(config, context)
    path = images / "even" / "00.png"
    match change:
        case "an image":
            Image.fromarray(pixels(1000)).save(path)
        case "its time":
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        case "one more":
            shutil.copy(path, images / "even" / "copy.png")
        case _:
            path.unlink()
    after = prepare(config, context)
    assert before.key != after.key
    assert (after.digest == before.digest) == (change == "its time")
    assert after.train_images + after.test_images == COUNT + {"one more": 1, "one less": -1}.get(change, 0)
    verify(context.store, before.manifest(context.store))


def test_a_sealed_one_is_found_and_nothing_read(
    config: PrepareConfig, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    first = prepare(config, context)
    busy = arranged(context, first=lambda: pytest.fail("there was nothing to do"))
    monkeypatch.setattr(FileSet, "read", lambda *_: pytest.fail("there was nothing to read"))
    assert prepare(config, busy) == replace(first, reused=True)


def test_what_was_done_is_not_done_again(config: PrepareConfig, make_context: Callable[..., Context]) -> None:
    context, config = make_context(), one_phase(config)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, arranged(context, stop_after=2))
    rest = arranged(context)
    heard: list[Progress] = []
    prepare(config, replace(rest, on_progress=heard.append))
    assert rest.cluster.ran == [2, 3, 4, 5]
    assert [(p.done, p.total, p.start, p.kept) for p in heard] == [(n, 40, 14, n) for n in (14, 21, 28, 35, 40)]


@pytest.mark.parametrize("lost", ["*/manifests/all.json", "*/units/000003.json", "*/units/000003-t*.json"])
def test_what_is_lost_of_it_is_made_again(
    config: PrepareConfig, make_context: Callable[..., Context], lost: str
) -> None:
    """As if the run had been killed at that moment: a unit counts from its report on, which comes last."""
    context = make_context()
    first = prepare(config, context)
    folder = Path(context.store.uri) / "prepare"
    for pattern in {"*/manifests/all.json", "*/units/000003.json", lost} if "units" in lost else {lost}:
        for path in folder.glob(pattern):
            path.unlink()
    rest = arranged(context)
    assert prepare(config, rest) == first
    assert rest.cluster.ran == ([3] if "units" in lost else [])
    verify(context.store, first.manifest(context.store))


def test_a_run_cut_short_gives_the_same_bytes(
    config: PrepareConfig, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    context = make_context(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        prepare(config, arranged(context, stop_after=3))
    assert prepare(config, context).digest == prepare(config, make_context(tmp_path / "b")).digest


def test_force_starts_beside_and_gives_the_same(config: PrepareConfig, make_context: Callable[..., Context]) -> None:
    context = make_context()
    first = prepare(config, context)
    again = prepare(config, replace(context, force=True))
    assert not again.reused
    assert again.digest == first.digest
    assert again.name != first.name
    assert first.manifest(context.store)


def test_another_environment_goes_on_and_strictly_is_a_conflict(
    config: PrepareConfig, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, config = make_context(), one_phase(config)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, arranged(context, stop_after=1))
    another = partial(Environment, settings={"device": "another"})
    monkeypatch.setattr("flows.stages.prepare.preparation.Environment", another)
    with pytest.raises(ConflictError) as caught:
        prepare(config, replace(context, strict_environment=True))
    assert caught.value.exit_code == 5
    assert Term.RUN_ANEW in caught.value.remedy
    lines: list[str] = []
    manifest = prepare(config, replace(context, say=lines.append)).manifest(context.store)
    (line,) = lines
    assert line.startswith("prepare: goes on in another environment (device: ")
    assert [period.after for period in periods_of(manifest)] == [{}, {"units": 1}]
    first, second = (period.environment for period in periods_of(manifest))
    assert second == {**first, "device": "another"}


@pytest.mark.parametrize("rules", [{}, {"on_bad_image": "quarantine"}, {"drop_duplicates": True}], ids=str)
@pytest.mark.parametrize("change", ["another image", "gone"])
def test_an_image_changed_between_list_and_read(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context], rules: dict[str, object], change: str
) -> None:
    path = images / "even" / "04.png"

    def do() -> None:
        path.write_bytes(b"something else") if change == "another image" else path.unlink()

    with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
        prepare(config.model_copy(update=rules), arranged(make_context(), first=do))
    assert caught.value.exit_code == 6
    assert "04.png" in caught.value.item


@pytest.mark.parametrize(("share", "held_out"), [(1e-6, 2), (1 - 1e-6, -2)])
def test_no_side_is_left_to_chance(
    config: PrepareConfig, make_context: Callable[..., Context], share: float, held_out: int
) -> None:
    dataset = prepare(config.model_copy(update={"holdout": share}), make_context())
    assert dataset.test_images == held_out % (dataset.train_images + dataset.test_images)


@pytest.mark.parametrize("source", ["", [], "/no/such/folder", "/no/such/*.png", ["/no", "/such"]])
@pytest.mark.parametrize("kind", ["folder", "idx"])
def test_no_source(make_context: Callable[..., Context], source: str | list[str], kind: str) -> None:
    context = make_context()
    with pytest.raises(InputError) as caught:
        prepare(PrepareConfig(kind=kind, source=source), context)
    assert caught.value.exit_code == 3
    assert context.store.list("prepare") == []
