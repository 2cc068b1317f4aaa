"""Each data set that docs/datasets.md names comes out as it says, from a small copy of its published layout."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.recipe.settings import load_config
from flows.stage import Context
from flows.stages.prepare.config import SourceKind
from flows.stages.prepare.preparation import find_data_key, prepare
from flows.stages.prepare.sources import open_source
from tests.flows.stages.prepare.layouts import arrays, lists, photos

PAGE = (Path(__file__).parents[4] / "docs" / "datasets.md").read_text()
ROWS = {
    name: (settings.split(), splits, classes)
    for name, settings, splits, classes in re.findall(
        r"^\| ([^|`]+) \| `([^`|]*prepare\.source=[^`|]*)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
    )
}
# What the program of a data set reads.
PROGRAMS = {"STL-10": "stl10_binary", "Oxford Flowers 102": "imagelabels.mat"}
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "MNIST": arrays.mnist,
    "Fashion-MNIST": arrays.fashion_mnist,
    "EMNIST": arrays.emnist,
    "QMNIST": arrays.qmnist,
    "KMNIST": arrays.kmnist,
    "MedMNIST": arrays.medmnist,
    "CIFAR-10": arrays.cifar_10,
    "CIFAR-100": arrays.cifar_100,
    "SVHN": arrays.svhn,
    "STL-10": arrays.stl_10,
    "ImageNet": photos.imagenet,
    "Imagenette": photos.imagenette,
    "Tiny ImageNet": lists.tiny_imagenet_packed,
    "Tiny ImageNet, unpacked": lists.tiny_imagenet,
    "CelebA": lists.celeba,
    "CelebA, packed": lists.celeba_packed,
    "CelebA by an attribute": lists.celeba,
    "CelebA of Kaggle": lists.celeba_of_kaggle,
    "CelebA by person": lists.celeba,
    "CUB-200-2011": lists.cub_200,
    "any set of Kaggle with a train.csv beside train": lists.kaggle,
    "FFHQ": photos.ffhq,
    "LSUN": photos.lsun,
    "Intel image classification": photos.intel,
    "Oxford Flowers 102": lists.flowers,
    "Oxford-IIIT Pets": photos.pets,
    "Cats vs dogs": photos.cats_and_dogs,
    "AFHQ": photos.afhq,
    "COCO": photos.coco,
    "EuroSAT": photos.eurosat,
    "Food-101 of Hugging Face": photos.food_101,
    "any set of save_to_disk": photos.saved_to_disk,
}


# As published; the small copies have fewer.
CLASSES = {
    "MNIST": 10,
    "Fashion-MNIST": 10,
    "EMNIST": 26,
    "QMNIST": 10,
    "KMNIST": 10,
    "MedMNIST": 9,
    "CIFAR-10": 10,
    "CIFAR-100": 100,
    "SVHN": 10,
    "STL-10": 10,
    "ImageNet": 1000,
    "Imagenette": 10,
    "Tiny ImageNet": 200,
    "Tiny ImageNet, unpacked": 200,
    "CelebA by an attribute": 2,
    "CelebA of Kaggle": 2,
    "CelebA by person": 10177,
    "CUB-200-2011": 200,
    "Intel image classification": 6,
    "Oxford Flowers 102": 102,
    "Oxford-IIIT Pets": 37,
    "Cats vs dogs": 2,
    "AFHQ": 3,
    "EuroSAT": 10,
    "Food-101 of Hugging Face": 101,
}


def test_the_page_has_the_published_numbers_of_classes() -> None:
    numbers = {name: found[0] for name, (_, _, classes) in ROWS.items() if (found := re.findall(r"^\d+", classes))}
    assert numbers == {name: str(count) for name, count in CLASSES.items()}


def test_the_page_lists_them() -> None:
    assert set(LAYOUTS) == set(ROWS)
    assert len(ROWS) >= 20


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_small_copy(
    name: str, tmp_path: Path, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    LAYOUTS[name](tmp_path / "data")
    for program in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        if PROGRAMS.get(name, "no program") in program:
            exec(compile(program, "docs/datasets.md", "exec"), {})
    settings, splits, classes = ROWS[name]
    config = load_config("folder", None, settings).prepare
    context = make_context()
    dataset = prepare(config, context)
    facts = dataset.manifest(context.store).facts
    assert ("its own" if facts["splits_from"] else "none") == splits
    origin = f"from {facts['labels_from']}" if facts["class_names"] else "none"
    assert re.sub(r"^\d+ ", "", classes) == origin
    assert facts["read"] == sum(facts["images"].values()) + facts["quarantined"] + sum(facts["filtered"].values())
    assert facts["images"]["train"] >= 2
    auto = load_config("folder", None, [one for one in settings if not one.startswith("prepare.kind=")]).prepare
    assert auto.kind == SourceKind.AUTO
    root = context.store.uri
    assert open_source(auto, root).config.kind == config.kind
    assert find_data_key(auto, root) == find_data_key(config, root)
