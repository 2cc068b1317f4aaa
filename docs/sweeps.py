"""The example of docs/sweeps.md: a small sweep on the digits, whose table and plot it keeps in docs/sweeps/.

`python -m docs.sweeps ROOT` runs it below a root, or goes on there.
"""

import csv
import shutil
import sys
from pathlib import Path

from flows.artifacts import number_text
from flows.cli import run_command

HERE = Path(__file__).parent / "sweeps"
NAME = "learning-rates"
FILES = ("table.csv", "plot.png")
# The preset, shorter: minutes for nine runs.
SETTINGS = (
    "train.images=12800", "train.lr_warmup_images=1280", "train.lr_decay_images=6400", "train.ema_halflife_images=2000",
    "train.checkpoint_images=12800", "train.history_images=1280", "train.watch_share=0", "train.num_timesteps=100",
    "train.beta_end=0.1", "train.threads=1", "sample.count=128", "sample.num_steps=20",
)  # fmt: skip
GRID = "train.learning_rate=1e-3,2e-3,4e-3"
_FIGURES = ("bits_per_dim_fixed_small", "fd_classifier")


def arguments(root: str) -> list[str]:
    """Return the command's arguments."""
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    more = ["--name", NAME, "--root", root, "--in-process", "--no-tracking"]
    return ["sweep", "digits", "--grid", GRID, "--seeds", "3", *more, *options]


def sweep_table() -> str:
    """Return the table of the example as Markdown."""
    with (HERE / FILES[0]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    axis = GRID.partition("=")[0]
    by = rows[0]["ranked by"]
    figures = [name for name in dict.fromkeys((by, *_FIGURES)) if name in rows[0]]
    heads = ["", f"`{axis}`", "runs", *(f"`{name}` ± SE" for name in figures), f"`{by}` minus the best", "verdict"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row["row"], row[axis], row["runs"], *(_text(row, name, "") for name in figures)]
        lines.append([*cells, _text(row, "difference", "+") if row["difference"] else "", row["verdict"] or "best"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(row: dict[str, str], name: str, sign: str) -> str:
    value, error = float(row[name]), row[f"{name} standard_error"]
    text = number_text(value, float(error) if error else None)
    text = f"{sign}{text}" if value > 0 else text
    return f"{text} ± {number_text(float(error), float(error))}" if error else text


def main(root: str) -> int:
    """Run the sweep and keep its table and plot."""
    code = run_command(arguments(root))
    if code == 0:
        HERE.mkdir(exist_ok=True)
        for name in FILES:
            shutil.copy(Path(root) / "sweeps" / NAME / name, HERE)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
