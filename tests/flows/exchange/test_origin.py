"""The card of a point along training and of a registered model tells what is recorded of them, no more and no less."""

from pathlib import Path

import pytest

from flows.exchange.folder import export_snapshot
from flows.exchange.origin import PointOrigin, RegisteredOrigin
from flows.points import Point, PointFigures
from infra.digests import sha256
from infra.record import ModelFigure
from infra.tracking.gate import figure_tags
from infra.tracking.resolver import RegisteredFile
from tests.flows.exchange.diffusers_folders import write_snapshot
from tests.flows.exchange.test_model_card import ORIGIN, card_of_run, cells

WATCHED = PointFigures(
    split="test",
    images=64,
    timesteps=(0, 9),
    loss=0.25,
    loss_stderr=0.03,
    bits_per_dim=4.5,
    bits_per_dim_stderr=0.25,
    samples=32,
    fd_pixels=7.5,
)
FIGURE = ModelFigure(
    name="fid", value=3.25, standard_error=0.5, higher_is_better=False, conditions={"samples": "50000", "data": "d1g"}
)
TAGS = {"ddpm.run": "digits-1a2b3c4d", "ddpm.data_digest": "data-digest", "ddpm.digest": "snapshot-digest"}


def point(figures: PointFigures | None) -> PointOrigin:
    return PointOrigin(run=ORIGIN, point=Point(images_seen=320, file="f", sha256="s", bytes=1, figures=figures))


def test_a_point_has_the_runs_data_and_its_own_figures(tmp_path: Path) -> None:
    text = card_of_run(tmp_path, point(WATCHED))
    assert "\n# digits-1a2b3c4d@320\n" in text
    rows = dict(row for row in cells(text) if len(row) == 2)
    assert (rows["run"], rows["data set"]) == ("digits-1a2b3c4d", "kind folder, digest data-digest")
    assert rows["point of training"] == "320 of 640 images"
    assert rows["environment of train"] == "device cuda, torch 2.8.0"
    assert not {"samples", "sampler", "figures, digest of the output"} & rows.keys(), "these are of the end"
    assert [row[:2] for row in cells(text) if len(row) == 3][2:] == [
        ["loss (`held_out_loss`)", "0.250 ± 0.030"],
        ["bits/dim, estimate (`bits_per_dim_estimate`)", "4.50 ± 0.25"],
        ["fd_pixels (`fd_pixels`)", "7.5"],
    ]
    assert "on the same 64 held-out images at every point" in text
    assert "15.25" not in text, "a figure of the end"
    assert "not known here" not in text


def test_a_point_that_was_not_measured_says_so(tmp_path: Path) -> None:
    text = card_of_run(tmp_path, point(None))
    assert "This point of the training was not measured." in text
    assert "data-digest" in text


def test_a_registered_model_has_its_run_and_its_figures_with_their_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its alias; the card names the version behind it."""
    write_snapshot(tmp_path / "a")
    tags = TAGS | figure_tags([FIGURE])
    file = RegisteredFile(str(tmp_path / "a"), sha256((tmp_path / "a").read_bytes()), "models:/digits/3", tags)
    monkeypatch.setattr("flows.snapshot.registered_file", lambda *_: file)
    export_snapshot("models:/digits@champion", str(tmp_path / "out"), root=str(tmp_path))
    text = (tmp_path / "out" / "README.md").read_text()
    rows = dict(row for row in cells(text) if len(row) == 2)
    assert rows["registered model"] == "models:/digits/3"
    assert (rows["run"], rows["data set"]) == ("digits-1a2b3c4d", "digest data-digest")
    assert rows["snapshot, digest of the output"] == "snapshot-digest"
    assert [row for row in cells(text) if len(row) == 3][2:] == [
        ["fid (`fid`)", "3.25 ± 0.50", "data d1g, samples 50000"]
    ]
    assert "not known here" not in text
    assert str(tmp_path) not in text


def test_what_was_not_noted_is_left_out(tmp_path: Path) -> None:
    text = card_of_run(tmp_path, RegisteredOrigin(version="models:/digits/3", tags={}))
    assert "\n# models:/digits/3\n" in text
    assert "No figures were registered." in text
    assert [row[0] for row in cells(text) if len(row) == 2][2] == "registered model"
