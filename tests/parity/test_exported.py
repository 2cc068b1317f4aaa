"""Sealed images through an export and a score, as a user takes them, have the figures that torch-fidelity gave them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.exchange.choices import ExportFormat
from flows.exchange.image_export import export_images
from flows.recipe.settings import load_config
from flows.scoring.score import score
from flows.stage import Context
from infra.digests import sha256
from tests.flows.exchange.sealed_images import sealed, selected
from tests.parity import figures, images
from tests.parity.ours import Ours

COLLECTION = "small"
# Our names of the figures that need none of torch-fidelity's random subsets.
NAMES = {"fid": "fd_inception", "precision": "precision_inception", "recall": "recall_inception"}


@pytest.mark.slow  # roots of covariances in 2,048 dimensions on one thread
def test_what_is_exported_and_scored_has_the_figures_of_torch_fidelity(
    ours: Ours, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    sides = []
    for side, to in (("samples", ExportFormat.NPZ), ("reference", ExportFormat.PNG)):
        pixels = images.collections()[COLLECTION][side].transpose(0, 3, 1, 2)
        half = len(pixels) // 2
        rows = ((half, half), (len(pixels) - half, len(pixels) - half))
        _, reader = sealed(tmp_path / "sealed" / side, 3, labelled=False, rows=rows, size=32, images=pixels)
        target = str(tmp_path / (f"{side}.npz" if to is ExportFormat.NPZ else side))
        export_images(selected(reader), to, target, lambda _: None)
        sides.append(target)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(ours.file)
    given = {
        "evaluate.extractor": "inception",
        "evaluate.extractor_weights": str(weights),
        "evaluate.extractor_sha256": sha256(ours.file),
        "evaluate.metrics": '["fd", "precision_recall"]',
    }
    config = load_config("folder", None, [f"{name}={value}" for name, value in given.items()], together=False)
    found = {figure.name: figure for figure in score(*sides, config, frozenset(given), make_context()).figures.figures}
    theirs = {
        figure.metric: figure
        for figure in figures.read()
        if (figure.program, figure.collection) == ("torch-fidelity", COLLECTION) and figure.metric in NAMES
    }
    assert set(theirs) == set(NAMES)
    for metric, figure in theirs.items():
        assert figures.equal(found[NAMES[metric]].value, figure.value), f"ours is {found[NAMES[metric]].value:.8g}"
