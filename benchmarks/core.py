"""Forward and train step beside diffusers' network of the same layout in its usual loop, in one run.

`python -m benchmarks.core [--network cifar10] [--batch 8] [--repeats 5] [--dtype float32] [--device cpu]`: the two take
turns; medians of the times, and of the ratios of neighbours with their quartiles.
"""

import argparse
import statistics

import torch

from benchmarks.ours import NETWORKS, ours
from benchmarks.theirs import theirs
from benchmarks.turns import in_turns, seconds
from ddpm_core.network.unet import UNet


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=tuple(NETWORKS), default="cifar10")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    config = NETWORKS[options.network]
    mine = ours(device, dtype, options.batch, UNet(config, seed=0))
    other = theirs(device, dtype, options.batch, config)
    forward_s = 0.0
    for name, call in other.items():
        turns = in_turns(mine[name], call, device, options.repeats)
        forward_s = turns.first_s if name == "forward" else forward_s
        spread = f"ratio {turns.ratio:.2f} ({turns.low:.2f} to {turns.high:.2f})"
        print(f"{name}: ours {turns.first_s:.3f} s, diffusers {turns.second_s:.3f} s, {spread}")
    noise_s = statistics.median([seconds(mine["noise"], device) for _ in range(options.repeats + 1)][1:])
    print(f"noise of one step: {noise_s * 1e3:.1f} ms, {noise_s / forward_s:.1%} of a forward pass")


if __name__ == "__main__":
    main()
