"""A training with stored averages, of weights that move at random, beside a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_core.ema import update_ema
from ddpm_core.power_ema import PowerProfile, gamma_of, profile_weights, step_decay
from flows.artifacts import Snapshot
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors
from tests.conftest import TinyRun

LENGTHS = (0.05, 0.1)
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A sealed training of weights that move at random.

    Attributes:
        manifest: Its seal; the snapshot in it holds the last step's weights.
        weights: Those after each step, by name.
    """

    manifest: Manifest
    weights: Sequence[Mapping[str, Tensor]]

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot.of(self.manifest)

    def average(self, sigma_rel: float) -> dict[str, Tensor]:
        """The average of this length over all steps, by its explicit weights, in float64."""
        shares = profile_weights(PowerProfile(len(self.weights), gamma_of(sigma_rel)), 1, len(self.weights))
        return {
            name: sum(share * step[name].double() for share, step in zip(shares.tolist(), self.weights, strict=True))
            for name in self.weights[0]
        }


def sealed_walk(run: TinyRun, steps: int = 48, points: int = 8, *, averages: bool = True, size: float = 0.3) -> Walk:
    """Seal a training whose weights go from the run's own by normal moves; `size` is their total per weight."""
    trained = run.snapshot.manifest(run.store)
    first, about = decode_tensors(read_verified(run.store, trained.folder, trained.units[0]), "snapshot")
    generator = torch.Generator().manual_seed(0)
    first = dict(sorted(first.items()))  # safetensors gives names in another order each time
    scales = {name: size * float(w.square().mean()) ** 0.5 / steps**0.5 for name, w in first.items()}
    weights = [first]
    for _ in range(steps - 1):
        moves = {name: torch.randn(w.shape, generator=generator) for name, w in first.items()}
        weights.append({name: w + scales[name] * moves[name] for name, w in weights[-1].items()})
    settings = {"case": "walk", "steps": steps, "points": points, "averages": averages, "size": size}
    output = Output(
        store=run.store, plan=Plan(stage="train", format_version=0, settings=settings, inputs=trained.plan["inputs"])
    )
    output.begin({})
    entries, kept = [], {f"{n}/{name}": w.clone() for n in range(len(LENGTHS)) for name, w in first.items()}
    for k, now in enumerate(weights, 1):
        for n, length in enumerate(LENGTHS):
            update_ema([kept[f"{n}/{name}"] for name in now], now.values(), step_decay(k, gamma_of(length)))
        if k * points % steps < points:
            scalars = {"images_seen": BATCH * k, "steps": k, "sigma_rels": list(LENGTHS)}
            name = f"averages/{BATCH * k:012d}"
            entries.append(scalars | output.commit(name, "safetensors", encode_tensors(kept, scalars), {}).as_json())
    record = output.commit("snapshots/0", "safetensors", encode_tensors(weights[-1], about), {})
    # The points of the run itself are not the walk's.
    own = {"images_seen": BATCH * steps, "points": [], "best": None, "averages": entries if averages else []}
    facts = trained.facts | own
    return Walk(
        manifest=output.seal({"images": BATCH * steps}, [{"unit": 0, "rows": 1, **record.as_json()}], facts),
        weights=weights,
    )
