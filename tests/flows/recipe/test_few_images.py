"""Whole runs on a few images to the report: one image, twenty, none held out, and a count held out."""

import json
from pathlib import Path

import pytest

from tests.flows.sessions import Page, put_images, run_whole, small, tracked_runs

NONE = "no image is held out (prepare.holdout)"
# Metrics that need images of the data, measured along training too.
METRICS = ("fd", "bits_per_dim", "fld_gap", "memorised", "ema_lengths")
ALL = (
    f"evaluate.metrics={json.dumps(METRICS)}",
    "evaluate.ema_lengths=[0.1]",
    "evaluate.bpd_timesteps=2",
    "train.watch_share=0.5",
    "train.watch_images=64",
    "sample.count=24",
)
CLASSES = "evaluate.extractor=classifier"
OF_ONE = {
    "fd": "at least 2 training images are needed for a distance; there are 1",
    "memorised": "at least 5 training images are needed for the share of memorised samples; there are 1",
}


@pytest.mark.parametrize(
    ("images", "settings", "counts", "reasons"),
    [
        (1, ALL, (1, 0), dict.fromkeys(METRICS, NONE) | OF_ONE),
        (20, (), (18, 2), {}),
        (12, ("prepare.holdout=0", *ALL, CLASSES), (12, 0), dict.fromkeys((*METRICS[1:], "accuracy_classifier"), NONE)),
        (12, ("prepare.holdout=5", *ALL), (7, 5), {}),
    ],
    ids=["one image", "twenty", "none held out", "five held out"],
)
def test_a_whole_run_says_what_it_leaves_out(
    root: Path, tmp_path: Path, images: int, settings: tuple[str, ...], counts: tuple[int, int], reasons: dict[str, str]
) -> None:
    page, folder = Page(), tmp_path / "images"
    for number in range(images):
        put_images(folder / ("odd" if number % 2 else "even") if CLASSES in settings else folder, [number])
    walk = run_whole(small(folder, *settings), root, page)
    (prepared,), (evaluated,) = (tracked_runs(root, stage).values() for stage in ("prepare", "evaluate"))
    assert tuple(prepared.data.metrics[f"prepare/{split}_images"] for split in ("train", "test")) == counts
    tags = {name.removeprefix("ddpm.left_out."): tag for name, tag in evaluated.data.tags.items() if "left_out" in name}
    assert tags == reasons
    assert not [line for line in page.lines if "has no figures" in line]
    *_, line = (line for line in page.lines if line.startswith("evaluate: "))
    report = (root / "reports" / walk.name / "report.html").read_text()
    for name, reason in reasons.items():
        assert f"{name} is left out: {reason}" in line
        assert f"{name}  left out  {reason}" in page.lines
        assert f'<tr><td>{name}</td><td class="figure">left out</td><td class="quiet">{reason}</td></tr>' in report
    assert ("bits/dim" in report.partition("<h2>Samples</h2>")[0]) == ("bits_per_dim" not in reasons)
