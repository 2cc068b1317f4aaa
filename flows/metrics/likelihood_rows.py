"""The likelihood of each held-out image, as the sealed outputs keep it: for a paired comparison of two runs."""

from collections.abc import Mapping

import torch
from torch import Tensor

from infra.outputs.manifest import Manifest, read_manifest, read_verified
from infra.outputs.tensors import decode_tensors
from infra.storage.store import Store

# A unit's tensor `total_bpd_<name>` is the figure `bits_per_dim_<name>` image by image.
TOTAL = "total_bpd_"
FIGURE = "bits_per_dim_"
# The stages of the outputs that hold such units.
STAGES = ("bound", "estimate", "flow")
_UNITS = "units/"
_EPS_MSE = "eps_mse"


def per_image(figures: Manifest, store: Store) -> dict[str, Tensor]:
    """Return the bits/dim of each held-out image, by the figure that is their mean.

    Row i belongs to image i of the held-out split, whatever the batch size, so two runs on the same data set are paired
    row by row as far as both go. They also share the noise of every image if their `evaluate.seed` is the same.

    Args:
        figures: The manifest that the evaluation sealed.
        store: Where it is.

    Returns:
        Figure name to float64 [n] in bits/dim, the mean over the draws of noise; empty if no likelihood was measured.

    Raises:
        IntegrityError: If a file is missing or differs from what was sealed.
    """
    draws: dict[str, list[Tensor]] = {}
    for folder in figures.facts["outputs"].values():
        output = read_manifest(store, folder)
        for total, values in columns(output, store).items() if output.stage in STAGES else ():
            if total.startswith(TOTAL):
                draws.setdefault(f"{FIGURE}{total.removeprefix(TOTAL)}", []).append(values)
    return {name: torch.stack(found).mean(0) for name, found in draws.items()}


def columns(output: Manifest, store: Store) -> Mapping[str, Tensor]:
    """Return the sums of every image, by name: float64 [n] in bits/dim, and `eps_mse` averaged over t.

    Terms of single timesteps are left out, so that memory holds a few numbers per image.

    Args:
        output: The manifest of an output of one of the `STAGES`.
        store: Where it is.

    Raises:
        IntegrityError: If a file is missing or differs from what was sealed.
    """
    parts = []
    for unit in output.units:
        if unit["file"].startswith(_UNITS):
            tensors, _ = decode_tensors(read_verified(store, output.folder, unit), unit["file"])
            if _EPS_MSE in tensors:
                tensors[_EPS_MSE] = tensors[_EPS_MSE].mean(1)
            parts.append({name: tensor.double() for name, tensor in tensors.items() if tensor.ndim == 1})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
