"""The images that are held out if the source gives no splits: a share by coin or by order, a count, or none."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from flows.artifacts import Dataset
from flows.stage import Context
from flows.stages.prepare.account import HeldOutBy
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.holdout import NOTHING, HeldOut, held_out_of, held_out_unseen
from flows.stages.prepare.preparation import prepare
from infra.errors import InputError
from tests.flows.stages.prepare.rows import prepared_rows
from tests.pictures import encoded, picture

MakeContext = Callable[..., Context]


def digests(count: int, seed: int = 0) -> list[str]:
    return [sha256(f"{seed} {number}".encode()).hexdigest() for number in range(count)]


def choose(holdout: float, of: list[str]) -> HeldOut:
    return held_out_of(holdout, np.frombuffer(bytes.fromhex("".join(of)), dtype="V32"))


def count(held_out: HeldOut, of: list[str]) -> int:
    return sum(digest <= held_out.limit for digest in of)


def by_coin(share: float, of: list[str]) -> int:
    return sum(int(digest, 16) / 2**256 < share for digest in of)


@pytest.mark.parametrize(("share", "images", "few"), [(0.1, 50, 5), (0.1, 40, 4), (0.1, 21, 2), (0.9, 40, 36)])
def test_the_coin_decides_unless_it_leaves_too_few(share: float, images: int, few: int) -> None:
    by = set()
    for seed in range(300):
        of = digests(images, seed)
        found, drawn = choose(share, of), by_coin(share, of)
        is_coin = 2 <= drawn <= images - 2
        by.add(found.by)
        assert count(found, of) == (drawn if is_coin else few)
        assert found.by == (HeldOutBy.COIN if is_coin else HeldOutBy.ORDER)
    assert by == {HeldOutBy.COIN, HeldOutBy.ORDER}


@pytest.mark.parametrize(
    ("share", "images", "held_out"),
    [(0.1, 20, 2), (0.1, 10, 2), (0.1, 4, 2), (0.1, 3, 0), (0.1, 1, 0), (0.3, 6, 2), (0.9, 20, 18), (0.99, 40, 38)],
)
def test_a_few_images_are_divided_as_the_share_says(share: float, images: int, held_out: int) -> None:
    for seed in range(20):
        of = digests(images, seed)
        found = choose(share, of)
        assert (count(found, of), found.by) == (held_out, HeldOutBy.ORDER if held_out else HeldOutBy.NOTHING)


def test_a_folder_that_grows_moves_no_held_out_image_into_training_from_the_first_coin_on() -> None:
    for seed in range(20):
        of, held_out = digests(120, seed), set[str]()
        for images in range(4, 121):
            found = choose(0.1, of[:images])
            now = {digest for digest in of[:images] if digest <= found.limit}
            assert held_out <= now
            held_out = now if found.by == HeldOutBy.COIN else set()


def test_a_coin_that_needs_no_look_is_the_same_coin() -> None:
    of = digests(700)
    unseen = held_out_unseen(0.1, 700)
    assert unseen == choose(0.1, of)
    assert unseen is not None
    assert count(unseen, of) == sum(int(digest, 16) / 2**256 < 0.1 for digest in of)
    assert held_out_unseen(0.1, 600) is None
    assert held_out_unseen(0.95, 700) is None


def test_a_count_is_that_many() -> None:
    of = digests(900)
    assert held_out_unseen(7, 900) is None
    found = choose(7, of)
    assert sorted(of)[:7] == sorted(digest for digest in of if digest <= found.limit)
    assert choose(1, of[:2]).limit == min(of[:2])


@pytest.mark.parametrize("holdout", [20, 21])
def test_a_count_of_all_is_refused(holdout: int) -> None:
    with pytest.raises(InputError, match=r"hold out 2[01] of 20 images.*prepare.holdout=0"):
        choose(holdout, digests(20))


def test_a_count_of_all_is_refused_before_any_work(tmp_path: Path, make_context: MakeContext) -> None:
    context = make_context()
    with pytest.raises(InputError, match=r"would hold out 100 of 6 images and leave none to train on - .*holdout=0"):
        sealed(folder(tmp_path, 6), context, holdout=100)
    assert not list(context.store.list("prepare"))


def test_equal_contents_stay_together() -> None:
    first, *others = sorted(digests(9))
    assert count(choose(2, [first] * 6 + others), [first] * 6 + others) == 6
    last = others[-1]
    assert count(choose(3, [first, *others[:1], *[last] * 6]), [first, *others[:1], *[last] * 6]) == 2
    assert choose(0.5, [first] * 8) == NOTHING


def folder(tmp_path: Path, count: int) -> Path:
    for number in range(count):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number:02d}.png").write_bytes(encoded(picture(number)))
    return tmp_path / "images"


def sealed(images: Path, context: Context, **settings: object) -> Dataset:
    return prepare(PrepareConfig(source=str(images), image_size=8, unit_images=7, **settings), context)


@pytest.mark.parametrize(
    ("images", "settings", "expected"),
    [
        (20, {}, (18, 2, "order")),
        (20, {"holdout": 5}, (15, 5, "order")),
        (20, {"holdout": 0}, (20, 0, "nothing")),
        (1, {}, (1, 0, "nothing")),
    ],
    ids=str,
)
def test_what_is_sealed(
    tmp_path: Path, make_context: MakeContext, images: int, settings: dict[str, object], expected: tuple[int, int, str]
) -> None:
    context = make_context()
    dataset = sealed(folder(tmp_path, images), context, **settings)
    rows = prepared_rows(dataset, context)
    held_out = dataset.manifest(context.store).facts["held_out_by"]
    assert (dataset.train_images, dataset.test_images, held_out) == expected
    in_order = sorted(rows.values(), key=lambda row: str(row["sha256"]))
    assert [row["split"] for row in in_order] == ["test"] * expected[1] + ["train"] * expected[0]


def test_the_order_is_of_images_that_are_written(tmp_path: Path, make_context: MakeContext) -> None:
    """Bad images, small ones and duplicates have no place in it, or the few held-out images could all be among them."""
    images, context = folder(tmp_path, 12), make_context()
    for number in range(30):
        (images / f"small{number}.png").write_bytes(encoded(picture(100 + number, (4, 4))))
        (images / f"copy{number}.png").write_bytes(encoded(picture(number % 12)))
    settings = {"min_side": 8, "drop_duplicates": True, "holdout": 5, "on_bad_image": "quarantine"}
    (images / "bad.png").write_bytes(b"junk")
    dataset = sealed(images, context, **settings, max_bad_fraction=0.1)
    assert (dataset.train_images, dataset.test_images) == (7, 5)


def test_a_source_whose_splits_have_one_image(tmp_path: Path, make_context: MakeContext) -> None:
    """They are taken as they are; the settings that overrule them do so."""
    for number, split in enumerate(["train", *["test"] * 5]):
        (tmp_path / "images" / split).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / split / f"{number}.png").write_bytes(encoded(picture(number)))
    taken = sealed(tmp_path / "images", make_context())
    assert (taken.train_images, taken.test_images) == (1, 5)
    drawn = sealed(tmp_path / "images", make_context(), use_splits=False)
    assert (drawn.train_images, drawn.test_images) == (4, 2)


def test_nothing_to_train_on_is_refused(tmp_path: Path, make_context: MakeContext) -> None:
    """The remedy is one that works."""
    for name, side in (("train/0.png", 4), ("test/1.png", 8), ("test/2.png", 8)):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(encoded(picture(1, (side, side))))
    with pytest.raises(InputError, match=r"none of 3 images is left to train on \(1 too small\) - .*use_splits=false"):
        sealed(tmp_path / "images", make_context(), min_side=8)
    assert sealed(tmp_path / "images", make_context(), min_side=8, use_splits=False).train_images == 2
