"""Prepare: every image read is written, by units whose bytes depend on nothing but the images and the settings."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.artifacts import Dataset
from flows.config import PrepareConfig
from flows.context import Context
from flows.stages.prepare import prepare
from infra.cluster import Cluster
from infra.dataset import DatasetReader
from infra.errors import ConflictError, InputError, IntegrityError
from infra.plan import verify
from infra.store import sha256

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
    return PrepareConfig(source=str(images), image_size=8, holdout_fraction=0.25, unit_images=7)


def rows(dataset: Dataset, context: Context) -> list[dict[str, object]]:
    manifest = dataset.manifest(context.store)
    root = Path(context.store.uri) / manifest.folder
    return [row for unit in manifest.units for row in pq.read_table(root / unit["file"]).to_pylist()]


def test_read_is_written(config: PrepareConfig, images: Path, make_context: Callable[..., Context]) -> None:
    context = make_context()
    dataset = prepare(config, context)
    written = rows(dataset, context)
    assert [row["id"] for row in written] == list(range(COUNT))
    assert sorted(row["name"] for row in written) == sorted(str(p.relative_to(images)) for p in images.rglob("*.png"))
    for row in written:
        number = int(Path(str(row["name"])).stem)
        assert row["image"] == pixels(number).transpose(2, 0, 1).tobytes()
        assert row["label"] == number % 2
        assert row["sha256"] == sha256((images / str(row["name"])).read_bytes())
    assert dataset.class_names == ("even", "odd")
    assert (dataset.train_images + dataset.test_images, dataset.image_size, dataset.channels) == (COUNT, 8, 3)
    assert dataset.levels == len(np.unique([pixels(number) for number in range(COUNT)]))
    verify(context.store, dataset.manifest(context.store))


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


def test_copies_never_lie_on_both_sides(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context]
) -> None:
    for path in list(images.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    context = make_context()
    sides: dict[object, set[object]] = {}
    for row in rows(prepare(config, context), context):
        sides.setdefault(row["sha256"], set()).add(row["split"])
    assert len(sides) == COUNT
    assert all(len(splits) == 1 for splits in sides.values())


def test_an_image_keeps_its_side_when_others_come(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context]
) -> None:
    context = make_context()
    before = {row["name"]: row["split"] for row in rows(prepare(config, context), context)}
    Image.fromarray(pixels(99)).save(images / "even" / "000.png")
    after = {row["name"]: row["split"] for row in rows(prepare(config, context), context)}
    assert before.items() < after.items()


def test_the_sources_own_split_is_kept(tmp_path: Path, make_context: Callable[..., Context]) -> None:
    folder = tmp_path / "split"
    for number in range(9):
        path = folder / ("train" if number < 6 else "test") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(path)
    context = make_context()
    dataset = prepare(PrepareConfig(source=str(folder), image_size=8, holdout_fraction=0.9), context)
    assert (dataset.train_images, dataset.test_images) == (6, 3)
    assert all(str(row["name"]).startswith(str(row["split"])) for row in rows(dataset, context))


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


@pytest.mark.parametrize(
    "change", [{"holdout_fraction": 0.3}, {"image_size": 4}, {"channels": 1}, {"unit_images": 8}], ids=str
)
def test_every_setting_gives_another_key(
    config: PrepareConfig, make_context: Callable[..., Context], change: dict[str, object]
) -> None:
    context = make_context()
    one, other = prepare(config, context), prepare(config.model_copy(update=change), context)
    assert one.key != other.key
    assert one.digest != other.digest


def test_a_changed_image_gives_another_key(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context]
) -> None:
    context = make_context()
    before = prepare(config, context)
    Image.fromarray(pixels(1000)).save(images / "even" / "00.png")
    after = prepare(config, context)
    assert before.key != after.key
    verify(context.store, before.manifest(context.store))


def test_a_sealed_one_is_found_and_nothing_done(config: PrepareConfig, make_context: Callable[..., Context]) -> None:
    context = make_context()
    first = prepare(config, context)
    busy = arranged(context, first=lambda: pytest.fail("there was nothing to do"))
    again = prepare(config, busy)
    assert again == replace(first, reused=True)


def test_what_was_done_is_not_done_again(config: PrepareConfig, make_context: Callable[..., Context]) -> None:
    context = make_context()
    with pytest.raises(KeyboardInterrupt):
        prepare(config, arranged(context, stop_after=2))
    rest = arranged(context)
    told: list[tuple[int, int]] = []
    dataset = prepare(config, replace(rest, on_progress=lambda *what: told.append(what)))
    units = len(dataset.manifest(context.store).units)
    assert rest.cluster.ran == list(range(2, units))
    assert told == [(done, units) for done in range(3, units + 1)]


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


def test_another_environment_that_began_is_a_conflict(
    config: PrepareConfig, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    with pytest.raises(KeyboardInterrupt):
        prepare(config, arranged(context, stop_after=1))
    monkeypatch.setattr("flows.stages.prepare.environment", lambda _: {"device": "another"})
    with pytest.raises(ConflictError) as caught:
        prepare(config, context)
    assert caught.value.exit_code == 5
    assert "--force" in caught.value.remedy
    prepare(config, replace(context, force=True))


def test_a_bad_image_ends_it_and_seals_nothing(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context]
) -> None:
    bad = images / "odd" / "13.png"
    bad.write_bytes(bad.read_bytes()[:60])
    context = make_context()
    with pytest.raises(InputError) as caught:
        prepare(config, context)
    assert str(bad) in str(caught.value)
    assert not [name for name in context.store.list("prepare") if "manifests" in name]


def test_an_image_changed_between_list_and_read(
    config: PrepareConfig, images: Path, make_context: Callable[..., Context]
) -> None:
    def change() -> None:
        Image.fromarray(pixels(1000)).save(images / "even" / "04.png")

    with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
        prepare(config, arranged(make_context(), first=change))
    assert caught.value.exit_code == 6
    assert "04.png" in caught.value.item


@pytest.mark.parametrize("fraction", [1e-6, 1 - 1e-6])
def test_an_empty_side_is_refused(config: PrepareConfig, make_context: Callable[..., Context], fraction: float) -> None:
    with pytest.raises(InputError, match="2 are needed") as caught:
        prepare(config.model_copy(update={"holdout_fraction": fraction}), make_context())
    assert "holdout_fraction" in caught.value.remedy


@pytest.mark.parametrize("source", ["", "/no/such/folder", "~no-such-user/x"])
@pytest.mark.parametrize("kind", ["folder", "idx"])
def test_no_source(make_context: Callable[..., Context], source: str, kind: str) -> None:
    context = make_context()
    with pytest.raises(InputError) as caught:
        prepare(PrepareConfig(kind=kind, source=source), context)
    assert caught.value.exit_code == 3
    assert context.store.list("prepare") == []


def test_the_digits(tiny_run: object) -> None:
    dataset = tiny_run.dataset
    assert dataset.train_images + dataset.test_images == 1797
    assert dataset.levels == 17
    assert len(dataset.class_names) == 10
    reader = DatasetReader(store=tiny_run.store, manifest=dataset.manifest(tiny_run.store))
    assert len(reader.load("train")[0]) == dataset.train_images
    assert len(reader.load("test")[0]) == dataset.test_images
