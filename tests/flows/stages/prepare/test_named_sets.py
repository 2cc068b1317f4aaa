"""Each data set that docs/datasets.md names comes out as it says, from a small copy of its published layout."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.recipe.settings import load_config
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from tests.flows.stages.prepare.layouts import arrays, photos

PAGE = (Path(__file__).parents[4] / "docs" / "datasets.md").read_text()
ROWS = {
    name: (settings.split(), splits, classes)
    for name, settings, splits, classes in re.findall(
        r"^\| ([^|`]+) \| `([^`|]*prepare\.source=[^`|]*)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
    )
}
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
    "Tiny ImageNet": photos.tiny_imagenet,
    "CelebA": photos.celeba,
    "FFHQ": photos.ffhq,
    "LSUN": photos.lsun,
    "Intel image classification": photos.intel,
    "Oxford Flowers 102": photos.flowers,
    "Oxford-IIIT Pets": photos.pets,
    "Cats vs dogs": photos.cats_and_dogs,
    "AFHQ": photos.afhq,
    "COCO": photos.coco,
    "EuroSAT": photos.eurosat,
    "Food-101 of Hugging Face": photos.food_101,
    "any set of save_to_disk": photos.saved_to_disk,
}


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
    if name == "STL-10":
        (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
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
