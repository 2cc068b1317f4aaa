"""The bound estimated from a few timesteps beside its full sum, by a trained network on the same held-out digits.

`python benchmarks/likelihood.py ROOT`: ROOT holds a finished `ddpm run digits`. The proposal of timesteps is fitted on
training images; the figures are on held-out ones. Calls are of one image each.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ddpm_core.choices import Variance
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.likelihood.estimate import estimate_bits_per_dim, step_terms
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.rng import Stream, normal, uniform
from flows.metrics.estimate_units import proposal_timesteps
from flows.snapshot import TrainedNetwork, load_snapshot
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import parse_manifest
from infra.storage.open import open_store
from infra.storage.store import Store

IMAGES, FIT_IMAGES, DRAWS, FULL_SUMS = 64, 32, 16, 6
VARIANCE = Variance.FIXED_LARGE


def images(store: Store, split: str, count: int) -> Tensor:
    """The first images of a split of the only data set below the root."""
    (name,) = [name for name in store.list("prepare") if "/manifests/" in name]
    reader = DatasetReader(store=store, manifest=parse_manifest(store.read(name), item=name))
    return to_model_range(torch.from_numpy(reader.load(split, limit=count)[0]))


def full_sum(snapshot: TrainedNetwork, x_start: Tensor, seed: int) -> Tensor:
    """Bits/dim of each image by all T timesteps."""
    ids, shape = torch.arange(len(x_start)), tuple(x_start.shape[1:])
    return bits_per_dim(
        snapshot.network,
        snapshot.schedule,
        x_start,
        noise=lambda t: normal(seed, Stream.NLL, ids, shape, step=t),
        variance=VARIANCE,
        parameterisation=snapshot.parameterisation,
    ).total_bpd


def fitted(snapshot: TrainedNetwork, x_start: Tensor) -> TimestepProposal:
    """The proposal as the evaluate stage fits it, from at most 64 timesteps."""
    ids, shape = torch.arange(len(x_start)), tuple(x_start.shape[1:])
    count = snapshot.schedule.num_timesteps
    timesteps = proposal_timesteps(count)
    terms = step_terms(
        snapshot.network,
        snapshot.schedule,
        x_start,
        timesteps,
        noise=lambda t: normal(0, Stream.NLL_PROPOSAL, ids, shape, step=t),
        variance=VARIANCE,
        parameterisation=snapshot.parameterisation,
    )
    moments = (terms**2).mean(0)
    return TimestepProposal.of_some_second_moments(timesteps - 1, moments, count - 1, uniform_share=0.05)


def estimate(snapshot: TrainedNetwork, x_start: Tensor, seed: int, count: int, proposal: TimestepProposal) -> Tensor:
    """Bits/dim of each image by `count` + 1 network calls."""
    ids, shape = torch.arange(len(x_start)), tuple(x_start.shape[1:])
    (found,) = estimate_bits_per_dim(
        snapshot.network,
        snapshot.schedule,
        x_start,
        noise=lambda k: normal(seed, Stream.NLL, ids, shape, step=k),
        uniforms=uniform(seed, Stream.NLL_T, ids, (count,)).double().clamp(1e-9, 1 - 1e-9),
        proposal=proposal,
        variances=[VARIANCE],
        parameterisation=snapshot.parameterisation,
    )
    return found.total_bpd


@torch.inference_mode()
def main() -> None:
    """Print calls, bits/dim and standard errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    store = open_store(str(parser.parse_args().root))
    (name,) = [name for name in store.list("train") if "/snapshots/" in name and name.endswith(".safetensors")]
    snapshot = load_snapshot(f"{store.uri}/{name}")
    held_out = images(store, "test", IMAGES)
    full = torch.stack([full_sum(snapshot, held_out, seed) for seed in range(FULL_SUMS)])
    proposal = fitted(snapshot, images(store, "train", FIT_IMAGES))
    calls, error = snapshot.schedule.num_timesteps, float(full.std(1).mean()) / IMAGES**0.5
    print(f"full sum: {calls} calls an image, {float(full.mean()):.3f} bits/dim, standard error {error:.4f}")
    for count in (19, 49, 99, 199):
        drawn = torch.stack([estimate(snapshot, held_out, 100 + k, count, proposal) for k in range(DRAWS)])
        errors = drawn.std(1) / IMAGES**0.5
        apart = drawn.mean() - full.mean()
        spread = (drawn.mean(1).var() / DRAWS + full.mean(1).var() / FULL_SUMS).sqrt()
        print(
            f"estimate: {count + 1} calls ({calls / (count + 1):.0f} times fewer), standard error "
            f"{float(errors.mean()):.4f} ({float(errors.mean()) / error:.2f} of the full sum's); mean of {DRAWS} "
            f"estimates less that of {FULL_SUMS} full sums {float(apart):+.4f} ± {float(spread):.4f}"
        )


if __name__ == "__main__":
    main()
