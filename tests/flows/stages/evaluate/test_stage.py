"""The account that the evaluation gives."""

from flows.account import Account
from flows.artifacts import number_text
from flows.stages.evaluate.stage import EVALUATE
from tests.conftest import TinyRun


def account(run: TinyRun) -> Account:
    return EVALUATE.account(run.config.evaluate, run.figures, (run.dataset, run.snapshot, run.samples), run.store)


def test_the_rows_are_the_headline_figures(tiny_run: TinyRun) -> None:
    said, metrics = account(tiny_run), tiny_run.figures.metrics
    assert said.rows[0] == (
        "fd_pixels",
        f"{metrics['eval/fd_pixels']:.5g}",
        "Fréchet distance of 24 samples to 1,576 training images (not an FID); a standard error needs 80 samples",
    )
    note = "upper bound on -log p of 16 held-out images, 256 levels"
    for row, variance in zip(said.rows[1:], ("fixed_large", "fixed_small"), strict=True):
        figure, error = (metrics[f"eval/bits_per_dim_{variance}{end}"] for end in ("", "_stderr"))
        assert row == (
            f"bits/dim, {variance.replace('_', ' ')}",
            f"{number_text(figure, error)} ± {number_text(error, error)}",
            note,
        )


def test_the_line_is_the_figures(tiny_run: TinyRun) -> None:
    metrics = tiny_run.figures.metrics
    names = [f"bits_per_dim_fixed_{size}" for size in ("large", "small")]
    large, small = (number_text(metrics[f"eval/{name}"], metrics[f"eval/{name}_stderr"]) for name in names)
    expected = (
        f"fd_pixels {metrics['eval/fd_pixels']:.5g}; bits/dim, fixed large {large}; bits/dim, fixed small {small}"
    )
    assert account(tiny_run).line == expected


def test_counts_are_tags_and_no_metrics(tiny_run: TinyRun) -> None:
    said = account(tiny_run)
    assert said.tags == {"ddpm.bpd_images": "16", "ddpm.distance_samples": "24"}
    assert not [name for name in said.metrics if name.endswith(("bpd_images", "distance_samples"))]
