"""Companions of plain images by their names: which keys certainly have some, and which only may."""

import io

import pytest

from infra.sources.keys import NameKeys
from infra.sources.listing import partners
from infra.sources.listing.partners import Partners
from infra.sources.source import Entry


def noted(*names: str) -> Partners:
    found, keys = Partners(io.BytesIO()), NameKeys()
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        found.add(Entry(name=name, folder=name.rpartition("/")[0], key=keys.of(stem, dot + suffix)))
    found.finish()
    return found


def pairs(image: str, *companions: str, count: int = 4) -> list[str]:
    return [one.replace("#", f"{number:04d}") for one in (image, *companions) for number in range(count)]


CERTAIN = {
    "a folder of its own": ("photos/#.png", "photo_masks/#_mask.png"),
    "equal names": ("frames/#.png", "masks/#.png"),
    "inside": ("#.png", "masks/#.png"),
    "with classes": ("frames/cat/#.png", "masks/cat/#.png"),
    "with splits": ("train/#.jpg", "train_masks/#_mask.gif"),
    "Cityscapes": (
        "leftImg8bit/train/aachen/aachen_#_leftImg8bit.png",
        "gtFine/train/aachen/aachen_#_gtFine_labelIds.png",
        "gtFine/train/aachen/aachen_#_gtFine_color.png",
    ),
    "ISIC": ("ISIC-2017_Training_Data/ISIC_#.jpg", "ISIC-2017_Training_Part1_GroundTruth/ISIC_#_segmentation.png"),
    "a hyphen": ("#.png", "#-mask.png"),
    "at the beginning": ("image_#.png", "mask_#.png"),
    "label": ("a/#.png", "a/#_label.png"),
    "word and folder spelt equally": ("people/#.png", "mask/#_mask.png"),
}
UNSURE = {
    "a class called so": (("train/SUV/#.png", "train/GT/#.png"), "gt"),
    "classes of equal numbers": (("cats/#.png", "masks/#.png"), "masks"),
    "the name alone": (("with/#_mask.png", "without/#.png"), "mask"),
    "people with masks": (("images/no_mask/#.png", "images/mask/#.png"), "mask"),
}
APART = {
    "masks alone": ("masks/#.png",),
    "other names": ("images/cats/cat#.png", "images/masks/mask_b#.png"),
    "people with masks": ("with_mask/#-with-mask.jpg", "without_mask/#.jpg"),
    "another split": ("train/images/#.png", "test/masks/#.png"),
    "classes by file names": ("cat_#.png", "mask_#.png"),
}


@pytest.mark.parametrize("names", CERTAIN.values(), ids=CERTAIN)
def test_certain(names: tuple[str, ...]) -> None:
    found = noted(*pairs(*names))
    assert found.certain() == found.likely() != frozenset()


@pytest.mark.parametrize(("names", "key"), UNSURE.values(), ids=UNSURE)
def test_equal_names_of_two_folders_may_be_classes(names: tuple[str, ...], key: str) -> None:
    found = noted(*pairs(*names))
    assert (found.certain(), found.likely()) == (frozenset(), {key})


@pytest.mark.parametrize("names", APART.values(), ids=APART)
def test_no_companions(names: tuple[str, ...]) -> None:
    found = noted(*pairs(*names))
    assert found.certain() == found.likely() == frozenset()


def test_a_few_more_plain_images_or_masks_change_nothing() -> None:
    assert noted(*pairs("frames/#.png", count=30), *pairs("masks/#.png")).certain() == {"masks"}
    assert noted(*pairs("frames/#.png"), *pairs("masks/#.png", count=8)).certain() == {"masks"}
    assert noted(*pairs("frames/#.png"), *pairs("masks/#.png", count=9)).likely() == frozenset()


def test_many_images_are_compared_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partners, "_MOST", 100)
    found = noted(*pairs("frames/#.png", "masks/#.png", count=2000))
    assert found.certain() == {"masks"}
    assert sum(map(len, found._plain.values())) + len(found._keyed) <= 100


def test_a_key_too_rare_for_the_sample_is_not_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partners, "_MOST", 100)
    found = noted("masks/4.png", *pairs("frames/#.png", count=5000))
    assert not found._keyed, "it is not in the sample"
    assert (found.certain(), found.likely()) == (frozenset(), {"masks"})


def test_one_name_in_many_folders_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partners, "_MOST", 100)
    found = noted(*(f"{number}/image.png" for number in range(300)))
    assert found._plain == {}


def test_one_name_in_many_folders_is_compared_with_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else thirty thousand samples, each in a folder of its own, took half an hour."""
    compared: list[str] = []
    is_companion = partners._is_companion

    def counted(one: partners._Keyed, plain: str) -> bool:
        compared.append(plain)
        return is_companion(one, plain)

    monkeypatch.setattr(partners, "_is_companion", counted)
    names = [f"{number:03d}/{own}.png" for number in range(200) for own in ("image", "mask")]
    assert noted(*names).certain() == {"mask"}
    assert compared == [], "each mask has an image in its own folder"
    other = [f"{number:03d}/1.png" for number in range(200)]
    assert noted(*other, *(f"b{number}/masks/1.png" for number in range(3))).certain() == frozenset()
    assert len(compared) == 3 * 64
