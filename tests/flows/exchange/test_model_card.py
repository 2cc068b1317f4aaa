"""The card tells what is recorded, in the form that the Hub reads, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.exchange.folder import export_network
from flows.exchange.origin import Origin, RunOrigin
from infra.digests import sha256
from tests.flows.exchange.diffusers_folders import NETWORKS, exported, write_snapshot

FIGURES = (
    Figure(name="fd_pixels", value=15.25, label="FD of pixels", note="24 samples | not an FID", headline=True),
    Figure(name="bits_per_dim", value=3.5, standard_error=0.125, label="bits/dim", note="<b>bound</b>\nbelow"),
)
ORIGIN = RunOrigin(
    name="digits-1a2b3c4d",
    settings={
        "prepare.kind": "folder",
        "train.ema_halflife_images": 887_000.0,
        "train.ema_rampup_ratio": 0.05,
        "sample.num_steps": 0,
        "sample.sampler": "ddim",
        "sample.seed": 7,
    },
    environments={"train": {"torch": "2.8.0", "device": "cuda"}},
    dataset=Dataset(
        name="d",
        key="d",
        digest="data-digest",
        train_images=1500,
        test_images=200,
        image_size=8,
        channels=3,
        class_names=(),
        levels=256,
    ),
    snapshot=Snapshot(name="s", key="s", digest="snapshot-digest", images_seen=640, num_timesteps=20),
    samples=Samples(name="x", key="x", digest="samples-digest", count=50_000),
    figures=Figures(name="f", key="f", digest="figures-digest", figures=FIGURES, counts={}, extractor="pixels"),
)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables in a page."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def card_of_run(tmp_path: Path, origin: Origin | None = ORIGIN, **network: Any) -> str:
    write_snapshot(tmp_path / "a", **network)
    export_network((tmp_path / "a").read_bytes(), "a", str(tmp_path / "out"), origin=origin)
    return (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("name", ["plain", "classes"])
def test_the_hub_reads_the_front_matter(name: str, folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard((exported(tmp_path / "net", **NETWORKS[name]) / "README.md").read_text()).data.to_dict()
    unconditional = ["unconditional-image-generation"] if name == "plain" else []
    assert data.pop("tags") == ["diffusers", "ddpm", *unconditional]
    assert data.pop("library_name") == "diffusers"
    assert data.pop("pipeline_tag", None) == (unconditional or [None])[0]
    assert data == {}, "no licence and no other claim"


def test_a_run_is_told_in_full(tmp_path: Path) -> None:
    text = card_of_run(tmp_path)
    assert "\n# digits-1a2b3c4d\n" in text
    rows = dict(row for row in cells(text) if len(row) == 2)
    assert rows["run"] == "digits-1a2b3c4d"
    assert rows["data set"] == "kind folder, digest data-digest"
    assert rows["images of the data set"] == "1,500 to train on, 200 held out"
    assert rows["snapshot, digest of the output"] == "snapshot-digest"
    assert rows["snapshot, sha256 of the file"] == sha256((tmp_path / "a").read_bytes())
    assert rows["images that it was trained on, counting repeats"] == "640"
    assert rows["half-life of the averaged weights (EMA)"] == "887,000 images, at most 0.05 of the images so far"
    assert rows["sampler"] == "ddim, 20 of 20 timesteps"
    assert rows["samples"] == "50,000, seed 7, digest samples-digest"
    assert rows["feature extractor"] == "pixels"
    assert rows["environment of train"] == "device cuda, torch 2.8.0"


def test_figures_with_their_errors_and_notes(tmp_path: Path) -> None:
    figures = [row for row in cells(card_of_run(tmp_path)) if len(row) == 3][2:]
    assert figures == [
        ["FD of pixels (`fd_pixels`)", "15.25", "24 samples \\| not an FID"],
        ["bits/dim (`bits_per_dim`)", "3.50 ± 0.12", "&lt;b>bound&lt;/b> below"],
    ]


def test_a_snapshot_alone_tells_what_is_in_it(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    rows = dict(row for row in cells(text) if len(row) == 2)
    assert rows["images that it was trained on, counting repeats"] == "640"
    assert rows["snapshot, sha256 of the file"] == sha256(folder.with_suffix(".safetensors").read_bytes())
    assert "## Figures" not in text
    assert "its training data and figures are not known here" in text


def test_the_program_in_the_card_draws(tmp_path: Path) -> None:
    text = card_of_run(tmp_path)
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("FOLDER", str(tmp_path / "out")), names)
    assert [image.size for image in names["images"]] == [(8, 8)] * 4


def test_the_parts_of_a_conditional_network_load(tmp_path: Path) -> None:
    import torch

    text = card_of_run(tmp_path, **NETWORKS["classes"])
    assert "3 stands for no label" in text
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"x_t": torch.zeros(2, 3, 8, 8), "t": torch.tensor([0, 5]), "labels": torch.tensor([0, 3])}
    exec(program.replace("FOLDER", str(tmp_path / "out")), names)
    assert names["predicted"].shape == (2, 3, 8, 8)


def test_equal_networks_have_equal_cards(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert card_of_run(tmp_path / "one") == card_of_run(tmp_path / "two")
