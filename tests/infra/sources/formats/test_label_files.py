"""The file of the labels of some images, by its name and its length."""

import pytest

from infra.errors import InputError
from infra.sources.files.file import File
from infra.sources.formats.array_names import array_name
from infra.sources.formats.label_files import LabelFile, LabelFiles


def files(images: dict[str, int], labels: dict[str, int | None]) -> tuple[dict[str, str], list[str]]:
    """The names of the labels of each file of images, and of the other files."""
    found = LabelFiles()
    for name in images:
        found.add_images(File(name=name, size=1, stamp=""))
    for name, count in labels.items():
        found.add(LabelFile(File(name=name, size=1, stamp=""), name, array_name(name.rpartition("/")[2]), count))
    pairs = {}
    for name, count in images.items():
        own = found.of(File(name=name, size=1, stamp=""), array_name(name.rpartition("/")[2]), count)
        pairs[name] = own.name if own else ""
    return pairs, [file.name for file in found.rest()]


@pytest.mark.parametrize(
    ("images", "labels", "pairs", "rest"),
    [
        ({"x": 3}, {"y": 3, "classes": 2}, {"x": "y"}, ["classes"]),
        ({"x": 3}, {"y": 3, "classes": 3}, {"x": "y"}, ["classes"]),
        ({"x": 3}, {"classes": 3}, {"x": "classes"}, []),
        ({"x": 3}, {"classes": 2}, {"x": ""}, ["classes"]),
        ({"x": 3}, {"y": 2}, {"x": "y"}, []),
        ({"x": 3}, {"y": None}, {"x": "y"}, []),
        ({"x": 3}, {"y": 2, "labels": 3}, {"x": "labels"}, ["y"]),
        ({"x": 3}, {"z-labels": 2}, {"x": ""}, ["z-labels"]),
        ({"a": 3, "b": 2}, {"a-labels": 3, "b-labels": 2}, {"a": "a-labels", "b": "b-labels"}, []),
        ({"a/x": 3, "b/x": 3}, {"b/y": 3}, {"a/x": "", "b/x": "b/y"}, []),
        ({"data": 3}, {"target": 3, "target_names": 2}, {"data": "target"}, ["target_names"]),
    ],
)
def test_pairs(images: dict[str, int], labels: dict[str, int | None], pairs: dict[str, str], rest: list[str]) -> None:
    assert files(images, labels) == (pairs, rest)


def test_what_is_doubtful() -> None:
    with pytest.raises(InputError, match="labels: is a second file of the same labels"):
        files({"x": 3}, {"y": 3, "labels": 3})
    with pytest.raises(InputError, match="z-labels: labels no images"):
        files({"x": 3}, {"z-labels": 3})
