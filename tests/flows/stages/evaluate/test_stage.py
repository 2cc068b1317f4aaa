"""What the evaluation says of itself."""

from flows.stage import Account
from flows.stages.evaluate import stage as evaluate
from flows.stages.evaluate.stage import EVALUATE
from tests.conftest import TinyRun


def account(run: TinyRun) -> Account:
    return EVALUATE.account(run.config.evaluate, run.figures, (run.dataset, run.snapshot, run.samples), run.store)


def test_the_rows_are_the_figures(tiny_run: TinyRun) -> None:
    said, metrics = account(tiny_run), tiny_run.figures.metrics
    assert said.rows[0] == (
        "fd_pixels",
        f"{metrics['eval/fd_pixels']:.3f}",
        "Fréchet distance of 24 samples to the training split",
    )
    for row, variance in zip(said.rows[1:], ("fixed_large", "fixed_small"), strict=True):
        figure, error = (metrics[f"eval/bits_per_dim_{variance}{end}"] for end in ("", "_stderr"))
        assert row == ("bits/dim", f"{figure:.3f} ± {error:.3f}", f"upper bound, {variance}, 256 levels")


def test_a_bound_given_labels_says_so(tiny_run: TinyRun) -> None:
    (row, _) = evaluate._rows(tiny_run.figures, labelled=True)[1:]
    assert row[2] == "upper bound given the labels, fixed_large, 256 levels"


def test_counts_are_tags_and_no_metrics(tiny_run: TinyRun) -> None:
    said = account(tiny_run)
    assert said.tags == {"ddpm.bpd_images": "16", "ddpm.bpd_timesteps": "0", "ddpm.fd_samples": "24"}
    assert not [name for name in said.metrics if name.endswith(("bpd_images", "bpd_timesteps", "fd_samples"))]
