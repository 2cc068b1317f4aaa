"""Outputs whose units are a few tensors each, computed from sealed outputs; the next steps of metrics rest on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from flows.metrics.extractors import extractor_device
from flows.metrics.metric import Subject
from flows.metrics.together import Work
from flows.nodes.environment import Environment
from infra.compute.device import prepare_process
from infra.digests import Json
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.store import Store


class UnitTensors(Protocol):
    """Computes the tensors of a unit; plain data, so that it travels to a worker."""

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Return the tensors of unit n, computed on a device."""


@dataclass(frozen=True, kw_only=True)
class TensorTask:
    """Computes and commits one unit at a time."""

    output: Output
    compute: UnitTensors
    threads: int
    device: str

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits one unit."""
        prepare_process(self.threads)
        device = torch.device(self.device)

        def run(number: int) -> None:
            with torch.inference_mode():
                tensors = self.compute(number, device)
            self.output.commit(_name(number), "safetensors", encode_tensors(tensors, {}), {})

        return run


def tensor_work(
    subject: Subject,
    compute: UnitTensors,
    *,
    stage: str,
    format_version: int,
    label: str,
    rows: Sequence[int],
    inputs: Mapping[str, Manifest],
    settings: Json | None = None,
) -> Work:
    """The output of a computation on sealed outputs.

    Args:
        subject: Names the threads of each worker, and the extractor, on whose device it is computed.
        compute: Computes a unit.
        stage: The folder of the output.
        format_version: Of its bytes.
        label: The name of the output among those that figures rest on.
        rows: The number of rows of each unit, for the record.
        inputs: The sealed outputs, by their role.
        settings: All that the bytes depend on beside the inputs and the threads.
    """
    assert subject.extractor is not None, "a metric of features says that it uses the setting `extractor`"
    threads = int(subject.settings["threads"])
    device = extractor_device(subject.extractor, subject.device)
    plan = Plan(
        stage=stage,
        format_version=format_version,
        settings=(settings or {}) | ({"threads": threads} if threads != 1 else {}),
        inputs={role: manifest.digest for role, manifest in inputs.items()},
    )
    return Work(
        label=label,
        plan=plan,
        environment=Environment(work="measuring", device=device),
        names=[_name(number) for number in range(len(rows))],
        task=lambda output, device: TensorTask(output=output, compute=compute, threads=threads, device=device),
        seal=partial(_seal, rows=rows),
    )


def read_units(manifest: Manifest, store: Store) -> list[dict[str, Tensor]]:
    """Return the tensors of each unit of a sealed output.

    Raises:
        IntegrityError: If a file differs from what was sealed.
    """
    return [decode_tensors(read_verified(store, manifest.folder, unit), unit["file"])[0] for unit in manifest.units]


def read_columns(manifest: Manifest, store: Store) -> dict[str, Tensor]:
    """Return the tensors of a sealed output, the units of each one after the other."""
    units = read_units(manifest, store)
    return {name: torch.cat([unit[name] for unit in units]) for name in units[0]}


def _name(number: int) -> str:
    return f"units/{number:06d}"


def _seal(output: Output, rows: Sequence[int]) -> Manifest:
    units = []
    for number, count in enumerate(rows):
        record = output.record(_name(number))
        assert record is not None, f"unit {number} was committed and has no record"
        units.append({"unit": number, "rows": count, **record.as_json()})
    return output.seal({}, units, {})
