"""The network of a preset as it is and compiled, in turns: a train step, a forward pass as sampling calls it.

`python -m benchmarks.compile [--preset showcase] [--batch 64] [--sample-batch 256] [--repeats 8] [--threads 2]`

Compiled code goes to a folder of its own first, so that the first compilation is cold; then once more from that folder,
in a process of its own, which is what every later run on the machine pays.
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from benchmarks.turns import in_turns
from ddpm_core.network.unet import UNet
from ddpm_core.schedule import cosine_schedule
from ddpm_core.train_step import StepConfig, train_step
from ddpm_core.training_order import training_noise
from flows.recipe.settings import load_config
from flows.snapshot import channels_last
from flows.stages.train.compilation import compile_for_training
from infra.compute.compilation import compile_network
from infra.compute.device import prepare_process

CPU = torch.device("cpu")


def main() -> None:
    """Print one row per measurement, or, called for a warm start, its seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="showcase")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sample-batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_process(options.threads)
    plain = _network(options.preset)
    if options.warm:
        started = time.perf_counter()
        compile_for_training(plain, options.batch, CPU, torch.float32)
        print(time.perf_counter() - started)
        return
    with tempfile.TemporaryDirectory(prefix="ddpm-compile-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        print(f"{options.preset}: {sum(p.numel() for p in plain.parameters()):,} weights, {options.threads} threads")
        print("| what | plain | compiled | plain over compiled | compiling, cold |\n|---|---|---|---|---|")
        _row(
            "train step",
            options,
            plain,
            _train_step,
            lambda n: compile_for_training(n, options.batch, CPU, torch.float32),
        )
        _row("forward pass of sampling", options, plain, _forward, lambda n: _compile_forward(n, options.sample_batch))
        warm = subprocess.run(
            [sys.executable, "-m", "benchmarks.compile", *sys.argv[1:], "--warm"],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"\nthe train step's code from its folder, in another process: {float(warm.stdout):.1f} s")


def _network(preset: str) -> UNet:
    train = load_config(preset, None, []).train
    config = load_config(preset, None, []).prepare
    classes = 10 if train.class_conditional else 0
    return channels_last(UNet(train.unet(config.image_size, config.channels, classes), seed=0))


def _train_step(network: UNet, options: argparse.Namespace) -> Callable[[], object]:
    network.train()
    config, slots, schedule = network.config, torch.arange(options.batch), cosine_schedule(1000)
    shape = (config.in_channels, config.image_size, config.image_size)
    images = torch.zeros(options.batch, *shape, dtype=torch.uint8)
    labels = slots % config.num_classes if config.num_classes else None
    noise = training_noise(0, slots, 1000, shape)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    step_config = StepConfig(global_batch_size=options.batch)
    return lambda: train_step(network, optimizer, schedule, images, noise, step_config, labels)


def _forward(network: UNet, options: argparse.Namespace) -> Callable[[], object]:
    network.eval()
    return _forward_of(network, options.sample_batch)


def _forward_of(network: UNet, images: int) -> Callable[[], object]:
    config, t = network.config, torch.zeros(images, dtype=torch.int64)
    x_t = torch.zeros(images, config.in_channels, config.image_size, config.image_size)
    labels = [t] if config.num_classes else []

    @torch.inference_mode()
    def call() -> object:
        return network(x_t, t, *labels)

    return call


def _compile_forward(network: UNet, images: int) -> None:
    compile_network(network.eval(), _forward_of(network, images))


def _row(
    what: str,
    options: argparse.Namespace,
    plain: UNet,
    work: Callable[[UNet, argparse.Namespace], Callable[[], object]],
    compiled: Callable[[UNet], None],
) -> None:
    network = copy.deepcopy(plain)
    started = time.perf_counter()
    compiled(network)
    cold = time.perf_counter() - started
    turns = in_turns(work(network, options), work(copy.deepcopy(plain), options), CPU, options.repeats)
    ratio = f"{turns.ratio:.2f} ({turns.low:.2f} to {turns.high:.2f})"
    print(f"| {what} | {turns.second_s * 1e3:.1f} ms | {turns.first_s * 1e3:.1f} ms | {ratio} | {cold:.0f} s |")


if __name__ == "__main__":
    main()
