"""The card says what the manifest holds, in a page that escapes what comes from outside."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.stage import Context
from flows.stages.prepare.card import render_card
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.compute.cluster import Cluster
from infra.storage.open import open_store

HOSTILE = '<b>&"x'
ESCAPED = "&lt;b&gt;&amp;&#34;x"


@pytest.fixture(params=[1, 3])
def card(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of twelve images in two classes of hostile names, a bad image and a text file."""
    generator = np.random.default_rng(0)
    source = tmp_path / "source"
    for split, count in (("train", 4), ("test", 2)):
        for name in ("$a_{$", HOSTILE):
            folder = source / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (source / "train" / "$a_{$" / f"{HOSTILE}.png").write_bytes(b"nothing")
    (source / f"notes.{HOSTILE}").write_text("x")
    store = open_store(str(tmp_path / "root"))
    store.make()
    config = PrepareConfig(
        source=str(source), image_size=8, channels=request.param, on_bad_image="quarantine", max_bad_fraction=0.5
    )
    context = Context(store=store, cluster=Cluster(mode="in-process"), force=False)
    dataset = prepare(config, context)
    return render_card(store, dataset.manifest(store))


def figure(card: str, label: str) -> str:
    found = re.search(rf'<tr><td>{label}</td><td class="figure">([^<]*)</td>', card)
    assert found is not None, label
    return found[1]


def test_the_account(card: str) -> None:
    assert figure(card, "found") == "13"
    assert figure(card, "written") == "12"
    assert figure(card, "in quarantine") == "1"
    assert "8 training and 4 held-out images of" in card
    assert "is no image of the formats PNG, JPEG" in card


def test_names_from_outside_are_escaped(card: str) -> None:
    assert f'<td class="name">train/$a_{{$/{ESCAPED}.png</td>' in card
    assert f"Other files, not read: 1 .{ESCAPED}." in card
    assert HOSTILE not in card
    assert "<b>" not in card


def test_the_classes_are_counted_and_named(card: str) -> None:
    assert f"2 classes from folder names: $a_{{$, {ESCAPED}. The rarest has 4 training images." in card
    assert "Read as folder. Splits from folders train and test (prepare.use_splits)." in card
    assert f'alt="images of each class: $a_{{$, {ESCAPED}"' in card


def test_pictures_are_inside(card: str) -> None:
    assert card.count("data:image/png;base64,") == 3
    assert not re.search(r'(src|href)="(?!data:)', card)
