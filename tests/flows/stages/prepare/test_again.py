"""A second preparation finds the same data set, and takes no other for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.stage import Context, Progress
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.errors import InputError
from tests.pictures import encoded, picture

MakeContext = Callable[..., Context]


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(picture(number)))


PLACES = [f"{split}/{name}/{number}.png" for split in ("train", "test") for name in ("cat", "dog") for number in (1, 2)]


def config(root: Path, **more: object) -> PrepareConfig:
    return PrepareConfig(source=str(root), image_size=8, **more)


def test_a_stricter_bound_on_bad_images_holds_for_what_is_sealed(tmp_path: Path, make_context: MakeContext) -> None:
    put(tmp_path / "x", *PLACES)
    (tmp_path / "x/train/cat/bad.png").write_bytes(b"junk")
    context = make_context()
    loose = config(tmp_path / "x", on_bad_image="quarantine", max_bad_fraction=0.5)
    assert not prepare(loose, context).reused
    assert prepare(loose, context).reused
    with pytest.raises(InputError, match=r"1 of 9 images are bad .* raise prepare.max_bad_fraction"):
        prepare(loose.model_copy(update={"max_bad_fraction": 0}), context)


def test_other_classes_are_another_data_set(tmp_path: Path, make_context: MakeContext) -> None:
    """The same pixels under other names: training on one must not go on from the other."""
    put(tmp_path / "a", *PLACES)
    put(tmp_path / "b", *(place.replace("dog", "fox") for place in PLACES))
    context = make_context()
    one, other = (prepare(config(tmp_path / name), context) for name in "ab")
    assert one.class_names == ("cat", "dog")
    assert other.class_names == ("cat", "fox")
    assert one.digest != other.digest


def test_classes_outside_the_splits_do_not_count(tmp_path: Path, make_context: MakeContext) -> None:
    put(tmp_path / "x", *PLACES, "extra/9.png", "preview.png")
    context = make_context()
    dataset = prepare(config(tmp_path / "x"), context)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.manifest(context.store).facts["filtered"] == {"outside train and test": 2}


def test_nested_sources_and_second_sets_are_refused(tmp_path: Path, make_context: MakeContext) -> None:
    put(tmp_path / "x", *PLACES)
    nested = PrepareConfig(source=[str(tmp_path / "x"), str(tmp_path / "x" / "train")], image_size=8)
    with pytest.raises(InputError, match="lies in, or is called like, another source"):
        prepare(nested, make_context())
    for name in ("mnist", "fashion"):
        (tmp_path / "idx" / name).mkdir(parents=True)
        (tmp_path / "idx" / name / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match=r"is of a second set \(mnist/ beside fashion/\)"):
        prepare(PrepareConfig(kind="idx", source=str(tmp_path / "idx"), image_size=8), make_context())


def test_looking_for_duplicates_has_a_phase_of_its_own(tmp_path: Path, make_context: MakeContext) -> None:
    put(tmp_path / "x", *PLACES)
    heard: list[Progress] = []
    prepare(config(tmp_path / "x", drop_duplicates=True, unit_images=5), make_context(on_progress=heard.append))
    expected = [(n, "looking for duplicates") for n in (0, 5, 8)] + [(0, "starting"), (5, ""), (8, "")]
    assert [(p.done, p.phase) for p in heard] == expected
    assert {p.total for p in heard} == {8}
