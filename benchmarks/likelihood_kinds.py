"""The three likelihoods side by side, by a trained network on the same held-out digits: bits/dim, errors, calls, time.

`python -m benchmarks.likelihood_kinds ROOT`: ROOT holds a finished `ddpm run digits`. Each row is computed by the units
of the evaluation, in one process. Network calls are per image and draw; those of the flow need gradients, which
makes each take about twice as long. The estimate also takes 64 calls once, on 32 training images.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ddpm_core.likelihood.flow import flow_nodes
from ddpm_core.likelihood.interval import interval
from flows.metrics.bound_units import bound_terms
from flows.metrics.estimate_units import estimated_terms, second_moments
from flows.metrics.flow_units import flow_terms
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from infra.compute.device import prepare_process
from infra.outputs.manifest import Manifest, parse_manifest
from infra.storage.open import open_store
from infra.storage.store import Store

BATCH, DRAWS = 32, 2
ESTIMATES, FLOWS = (20, 100), (25, 50, 100, 200, 1000)


def sealed(store: Store, stage: str) -> Manifest:
    """The only output of a stage below the root."""
    (name,) = [name for name in store.list(stage) if "/manifests/" in name]
    return parse_manifest(store.read(name), item=name)


def row(about: str, name: str, calls: int, images: int, terms: Callable[[int, int, int], dict[str, Tensor]]) -> None:
    """Measure one likelihood under each draw of noise, and print its row of a Markdown table."""
    start, draws = time.perf_counter(), []
    for draw in range(DRAWS):
        parts = [terms(draw, first, min(first + BATCH, images))[name] for first in range(0, images, BATCH)]
        draws.append(torch.cat(parts))
    seconds = (time.perf_counter() - start) / DRAWS
    found, first_draw = interval(torch.stack(draws)), interval(draws[0][None])
    cells = (
        about,
        f"{first_draw.value:.4f} ± {first_draw.standard_error:.4f}",
        f"{(found.noise_standard_error or 0) * DRAWS**0.5:.4f}",
        str(calls),
        f"{seconds:.1f} s",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a row per likelihood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--images", type=int, default=256)
    options = parser.parse_args()
    prepare_process(1)
    store = open_store(str(options.root))
    dataset, trained = sealed(store, "prepare"), sealed(store, "train")

    def inputs(draw: int, **changes: int) -> Inputs:
        settings = LikelihoodSettings(
            images=options.images, batch_size=BATCH, seed=0, draw=draw, threads=1, device="cpu", **changes
        )
        return Inputs(settings=settings, dataset=dataset, trained=trained, store=store)

    schedule = inputs(0).snapshot.schedule
    count = schedule.num_timesteps
    print("| likelihood | bits/dim, standard error over images | over noise alone | calls per image | time |")
    print("|---|---|---|---|---|")
    row(
        "bound, fixed large",
        "total_bpd_fixed_large",
        count,
        options.images,
        lambda draw, start, stop: bound_terms(inputs(draw), start, stop),
    )
    fitted = second_moments(inputs(0), 0, BATCH)

    def estimate(timesteps: int, draw: int, start: int, stop: int) -> dict[str, Tensor]:
        return estimated_terms(inputs(draw, timesteps=timesteps), fitted, start, stop)

    def flow(steps: int, draw: int, start: int, stop: int) -> dict[str, Tensor]:
        return flow_terms(inputs(draw, flow_steps=steps), start, stop)

    for timesteps in ESTIMATES:
        about = f"estimate, fixed large, {timesteps} timesteps"
        name = "total_bpd_estimate_fixed_large"
        row(about, name, timesteps + 1, options.images, partial(estimate, timesteps))
    for steps in FLOWS:
        nodes = flow_nodes(schedule, steps).num_timesteps
        about = f"flow, {steps} steps, which are {nodes} timesteps"
        row(about, "total_bpd_flow", 2 * (nodes - 1), options.images, partial(flow, steps))


if __name__ == "__main__":
    main()
