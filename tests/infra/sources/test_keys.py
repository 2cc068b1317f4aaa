"""The keys of images by their names, and which of them are taken."""

import pytest

from infra.errors import InputError
from infra.sources.keys import ALL, IMAGE_KEYS, PLAIN, Keys, NameKeys
from infra.sources.source import Entry


def keys_of(*names: str, chosen: str = "") -> list[str]:
    keys = NameKeys(chosen)
    return [keys.of(stem, dot + suffix) for stem, dot, suffix in (name.rpartition(".") for name in names)]


def counted(*images: tuple[str, str], times: int = 3) -> Keys:
    """Images by folder and key, several times each."""
    keys = Keys()
    for _ in range(times):
        for folder, key in images:
            keys.add(Entry(name="x", folder=folder, key=key))
    return keys


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["1.image.png", "1.mask.png", "2.IMG.jpg"], ["image", "mask", "IMG"]),
        (["1.png", "a/2.png", "2_3.png"], ["", "", ""]),
        (["1.png", "1_mask.png", "a/1_GT.png", "1_masks.gif"], ["", "mask", "gt", "masks"]),
        (["images/1.png", "x/masks/1.png", "Annotations/1.png"], ["", "masks", "annotations"]),
        (["1.jpg", "1.png", "1.webp", "2.png"], ["", ".png", ".webp", ""]),
        (["1.png", "1.png"], ["", ""]),
        (["IMG.0001.png", "IMG.0002.png", "a.rf.0f3a.jpg", "v1.2.x.png"], ["", "", "", ""]),
        (["mask/1.png", "unmask.png", "masked_1.png"], ["mask", "", ""]),
        (["photo_masks/1.png", "x-GroundTruth/1.png", "mask_images/1.png"], ["masks", "groundtruth", ""]),
        (["a_masks/images/1.png", "a_masks/masks/1.png", "masks/images/1.png"], ["", "masks", "masks"]),
        (["1-mask.png", "mask_1.png", "MASK-1.png", "mask.png", "1_gtFine_labelIds.png"], ["mask"] * 4 + ["labelids"]),
        (["with_mask/1-with-mask.jpg", "no mask/1.jpg", "WithoutMask/1.jpg", "with_mask.jpg"], [""] * 4),
    ],
)
def test_names(names: list[str], keys: list[str]) -> None:
    assert keys_of(*names) == keys
    assert keys_of(*names, chosen=ALL) == [""] * len(names)


def test_the_users_choice() -> None:
    assert [NameKeys(one).takes(key) for one in ("", "left", ALL, PLAIN) for key in ("left", "right", "")] == [
        *(True, True, True),
        *(True, False, False),
        *(True, True, True),
        *(False, False, True),
    ]
    assert NameKeys("left").waits("left") == ""


@pytest.mark.parametrize(
    ("images", "left_out"),
    [
        ([("", "")], set()),
        ([("", "image"), ("", "mask")], {"mask"}),
        ([("", "depth"), ("", "img"), ("", "image")], {"depth", "img"}),
        ([("", "mask")], set()),
        ([("", "left")], set()),
        ([("", ""), ("", ".png")], {".png"}),
        ([("", ""), ("", "cond")], {"cond"}),
        ([("cat", ""), ("cat", "mask"), ("dog", "")], {"mask"}),
        ([("images", ""), ("masks", "masks")], {"masks"}),
        ([("imgs/cat", ""), ("masks/cat", "masks")], {"masks"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),  # a set has no order
)
def test_the_image_is_taken_and_nothing_beside_it(images: list[tuple[str, str]], left_out: set[str]) -> None:
    assert counted(*images).left_out() == left_out


@pytest.mark.parametrize(
    "images",
    [
        [("mask", "mask"), ("without", "")],
        [("people/with", "mask"), ("people/without", "")],
        [("", f"word{number}") for number in range(30)],
        [("", ""), ("", ".gif"), ("", ".png")],
        [("", ""), ("", ""), ("", ".png")],
        [("images/cats", ""), ("images/masks", "masks")],
    ],
    ids=["classes", "names of another folder", "many words", "many formats", "a few formats", "classes of images"],
)
def test_words_that_are_no_keys_take_nothing_away(images: list[tuple[str, str]]) -> None:
    assert counted(*images).left_out() == frozenset()


def test_a_word_that_one_image_has_is_part_of_its_name() -> None:
    assert counted(("", "Smith"), ("", "Jones"), times=1).left_out() == frozenset()


def test_keys_of_which_none_is_called_like_an_image_are_refused() -> None:
    with pytest.raises(InputError, match=r"several images in a sample: left, right - set .* or to \* for all"):
        counted(("", "left"), ("", "right")).left_out()


def test_keys_that_are_companions_by_their_names_are_left_out() -> None:
    beside = counted(("a", ""), ("masks", "masks"))
    assert beside.left_out() == frozenset()
    assert beside.left_out({"masks"}) == {"masks"}
    many = counted(("", ""), ("b_masks", "masks"), *(("", f"word{number}") for number in range(30)))
    assert many.left_out({"masks"}) == {"masks"}
    late = counted(("", ""), *(("", f"word{number}") for number in range(30)), ("b_masks", "masks"))
    assert (late.left_out({"masks"}), late.counts["masks"]) == ({"masks"}, 3)


def test_the_order_of_preference() -> None:
    assert IMAGE_KEYS[:5] == ("image", "img", "jpg", "png", "bytes")


def of_splits(*images: tuple[str, str], times: int = 3) -> frozenset[str]:
    """The keys left out of images by split and key, one split after the other."""
    keys = Keys()
    for split, key in images:
        for _ in range(times):
            keys.add(Entry(name="x", split=split, key=key))
    return keys.left_out()


def test_plain_images_elsewhere_take_no_image_for_its_mask() -> None:
    """A preview beside the samples, or a held-out split without keys."""
    samples = counted(("a", "image"), ("a", "mask"))
    samples.add(Entry(name="preview", folder="a"))
    assert samples.left_out() == {"mask"}
    assert of_splits(("train", "image"), ("train", "mask"), ("test", "")) == {"mask"}
    assert of_splits(("train", ""), ("test", "image"), ("test", "mask")) == {"mask"}


def test_a_word_of_one_split_empties_no_split() -> None:
    assert of_splits(("train", "small"), ("test", "")) == frozenset()
    assert of_splits(("train", ""), ("test", "small")) == frozenset()


def test_two_views_beside_a_stray_plain_image_are_refused() -> None:
    views = counted(("a", "left"), ("a", "right"))
    views.add(Entry(name="preview", folder="a"))
    with pytest.raises(InputError, match="left, right"):
        views.left_out()
