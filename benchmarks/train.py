"""The training stage beside a plain loop of the same step, in turns on one machine; about five minutes.

`python -m benchmarks.train [--preset digits] [--set a.b=value ...] [--rounds 3] [--images 12800] [--workers 1]
[--watch-share 0]`

First the ladder, in one process: the step alone, then with each further piece of the loop, ten steps of each in turn.
Then the stage, in processes of its own. Every round runs a plain loop of the step, the stage in one process and the
stage under Ray. A rate is images over the wall time from the first row of the history to the last, with the checkpoints
between them; a ratio is the median over rounds, with its extremes. Last, the CPU time of every process of the run under
Ray in that time. `--workers 2` also trains on two workers with half of the threads each.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.train_loop import ladder, plain_rate
from benchmarks.train_stage import prepared, stage_rate
from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config

KINDS = ("plain", "in-process", "ray")


def main() -> None:
    """Print the three tables, or, called for one measurement, its result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="a.b=value")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--watch-share", type=float, default=0.0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    options = parser.parse_args()
    config = _config(options)
    if options.one:
        kind, _, number = options.one.partition(":")
        print(json.dumps(_measured(kind, config, options.root, int(number))))
        return
    with tempfile.TemporaryDirectory(prefix="ddpm-benchmark-") as root:
        prepared(config, root)
        _print_ladder(json.loads(_call(options, root, "ladder:0"))["ms"])
        _print_rounds(options, root)


def _config(options: argparse.Namespace) -> PipelineConfig:
    config = load_config(options.preset, None, options.settings)
    # A row every second and a checkpoint with a point every quarter of the run, more than any preset has.
    changes = {
        "images": options.images,
        "checkpoint_images": options.images // 4,
        "history_images": options.images // 16,
        "watch_images": options.images // 4,
        "watch_share": options.watch_share,
    }
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def _measured(kind: str, config: PipelineConfig, root: str, seed: int) -> dict[str, Any]:
    """Measure in this process, with this seed."""
    train = config.train.model_copy(update={"seed": seed})
    config = config.model_copy(update={"train": train})
    match kind:
        case "ladder":
            return {"ms": ladder(config, root)}
        case "plain":
            return {"rate": plain_rate(config, root)}
        case "two":
            half = {"workers": 2, "threads": max(train.threads // 2, 1)}
            return stage_rate(config.model_copy(update={"train": train.model_copy(update=half)}), root, "ray")
    return stage_rate(config, root, kind)


def _call(options: argparse.Namespace, root: str, one: str) -> str:
    command = [sys.executable, "-m", "benchmarks.train", "--preset", options.preset, "--images", str(options.images)]
    command += [part for setting in options.settings for part in ("--set", setting)]
    command += ["--watch-share", str(options.watch_share), "--root", root, "--one", one]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{one}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")
    return done.stdout.splitlines()[-1]


def _print_ladder(ms: dict[str, list[float]]) -> None:
    alone = next(iter(ms.values()))
    print("| in one process, ten steps of each in turn | ms per step | the step alone over it |\n|---|---|---|")
    for name, times in ms.items():
        ratio = statistics.median(a / b for a, b in zip(alone, times, strict=True))
        print(f"| {name} | {statistics.median(times):.2f} | {ratio:.3f} |")


def _print_rounds(options: argparse.Namespace, root: str) -> None:
    kinds = [*KINDS, *(["two"] if options.workers > 1 else [])]
    rounds = []
    for number in range(1, options.rounds + 1):
        # A seed of its own gives each run an output of its own.
        seeds = {kind: number * len(kinds) + place for place, kind in enumerate(kinds)}
        rounds.append({kind: json.loads(_call(options, root, f"{kind}:{seed}")) for kind, seed in seeds.items()})
    print("\n| stage, in turns | images/s | over the plain loop | time in checkpoints |\n|---|---|---|---|")
    names = {"plain": "plain loop of the step", "ray": "the stage under Ray", "two": "the same, two workers"}
    for kind in kinds:
        ratios = [result[kind]["rate"] / result["plain"]["rate"] for result in rounds]
        rate = statistics.median(result[kind]["rate"] for result in rounds)
        name = names.get(kind, "the stage in one process")
        saving = [result[kind]["saving"] for result in rounds if "saving" in result[kind]]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"| {name} | {rate:.0f} | {spread} | {f'{max(saving):.2%} at most' if saving else ''} |")
    print("\n| process under Ray, last round | CPU s | share of one core |\n|---|---|---|")
    last = rounds[-1]["ray"]
    for name, seconds in sorted(last["cpu_s"].items(), key=lambda item: -item[1]):
        print(f"| {name} | {seconds:.2f} | {seconds / last['wall_s']:.1%} |")
    print(f"\n{Path(root).name}: {options.images} images, {last['wall_s']:.1f} s between the rows")


if __name__ == "__main__":
    main()
