"""`python -m benchmarks.gpu.run [--device cuda|cpu] [--toy] [--seconds 420] [--out FOLDER] [--only NAMES]`.

Needs torch and jaxtyping, nothing else, and as `benchmarks.gpu.bare` torch alone; with diffusers the rows beside it
come too. Without CUDA everything runs at toy size on the processor, to try the program: no figure counts. Rows are
printed as they come and appended to FOLDER/gpu.jsonl; FOLDER/gpu.md holds them as tables.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.beside import beside
from benchmarks.gpu.bound import bound
from benchmarks.gpu.ceilings import ceilings
from benchmarks.gpu.compiled import compiled
from benchmarks.gpu.environment import environment
from benchmarks.gpu.equality import equality
from benchmarks.gpu.features import features
from benchmarks.gpu.flops import flops
from benchmarks.gpu.graphs import graphs
from benchmarks.gpu.profile import profile
from benchmarks.gpu.repeatable import repeatable
from benchmarks.gpu.sample import sample
from benchmarks.gpu.setting import BFLOAT16, FLOAT32, Setting
from benchmarks.gpu.syncs import syncs
from benchmarks.gpu.train import parts, train
from benchmarks.gpu.weights import weights

# In the order of their worth, with the seconds that each may take on an H100. Train steps need flops and ceilings.
# Compiling is slow, and a capture that fails can leave torch's generator unusable: both come late.
SECTIONS: dict[str, tuple[float, Callable[[Bench], None]]] = {
    "environment": (1, environment),
    "flops": (3, flops),
    "ceilings": (5, ceilings),
    "train": (40, train),
    "equality": (10, equality),
    "syncs": (8, syncs),
    "repeatable": (25, repeatable),
    "parts": (20, parts),
    "profile": (12, profile),
    "sample": (50, sample),
    "bound": (20, bound),
    "features": (20, features),
    "beside": (20, beside),
    "compiled, bfloat16": (80, partial(compiled, precision=BFLOAT16)),
    "graphs": (20, graphs),
    "weights": (20, weights),
    "compiled, float32": (60, partial(compiled, precision=FLOAT32)),
}
_TOY_ESTIMATE_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; return 1 if any row failed, else 0."""
    options = _options(arguments)
    # cuBLAS reads it once, at its first call; without it deterministic algorithms refuse to run. It asks for as
    # much memory as torch gives cuBLAS on a Hopper GPU anyway.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    setting = Setting(device=torch.device(options.device), toy=options.toy or options.device == "cpu")
    if setting.toy:
        print("NO MEASUREMENT: toy sizes, to try the program" + ("" if setting.cuda else "; this is a processor"))
    threads = torch.get_num_threads()
    if not setting.cuda:
        # Toys wait longer for a second thread than it saves.
        torch.set_num_threads(1)
    try:
        failed = _run(options, setting)
    finally:
        torch.set_num_threads(threads)
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--toy", action="store_true", help="toy sizes on a GPU too")
    parser.add_argument("--seconds", type=float, default=420, help="a section that would end later is left out")
    parser.add_argument("--out", type=Path, default=Path("gpu-figures"), help="folder of the rows, made anew")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, setting: Setting) -> int:
    """Run what is asked for; return the number of failed rows."""
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("gpu.jsonl", "gpu.md", "gpu-errors.txt", "gpu-profile.txt"):
        (options.out / name).unlink(missing_ok=True)
    bench = Bench(setting=setting, folder=options.out, deadline_s=time.monotonic() + options.seconds)
    for name, (estimate_s, section) in SECTIONS.items():
        if name in options.only:
            bench.run(name, _TOY_ESTIMATE_S if setting.toy else estimate_s, section)
    bench.write_table()
    print(f"\n{len(bench.rows)} rows, {bench.failed} failed; {options.out}/gpu.md", flush=True)
    return bench.failed


if __name__ == "__main__":
    sys.exit(main())
