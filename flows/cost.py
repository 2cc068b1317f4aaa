"""The cost of a stage: the sum over the attempts that led to its output, as numbers and as the cells of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from flows.quantities import bytes_text, duration_text
from infra.outputs.costs import SEALED, Attempt
from infra.outputs.manifest import Manifest, named_files, read_manifest
from infra.storage.store import Store

COLUMNS = (
    "stage",
    "wall time",
    "work",
    "per second",
    "CPU h",
    "GPU h",
    "waiting for data",
    "attempts",
    "retries",
    "size",
)
_HOUR = 3600
_SHORT_S = 0.05


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """The cost of a stage's output, whichever runs paid for it.

    Attributes:
        stage: The stage's name.
        attempts: The number of attempts.
        unit: The unit of `amount`, such as "images".
        amount: The work that was done, with what a killed attempt did in vain.
        wall_s: Seconds of all attempts together.
        cpu_s: CPU seconds for which workers were held.
        gpu_s: The same of GPUs.
        driver_cpu_s: CPU seconds that the processes of the runs used.
        data_wait_s: Seconds for which training waited for data.
        retries: The number of units or groups of workers that were begun again.
        bytes: The size of the sealed output.
        at_least: Whether an attempt was killed, of which only its last record is known.
    """

    stage: str
    attempts: int
    unit: str
    amount: int
    wall_s: float
    cpu_s: float
    gpu_s: float
    driver_cpu_s: float
    data_wait_s: float
    retries: int
    bytes: int
    at_least: bool

    @property
    def rate(self) -> float | None:
        """`unit` per second of wall time, start-up included; None if nothing was counted."""
        return self.amount / self.wall_s if self.amount and self.wall_s > 0 else None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers by their names in MLflow, such as `cost/train/wall_s`."""
        names = ("wall_s", "cpu_s", "gpu_s", "data_wait_s", "attempts", "retries", "bytes")
        found = {name: float(getattr(self, name)) for name in names}
        found |= {} if self.rate is None else {f"{self.unit}_per_second": self.rate}
        return {f"cost/{self.stage}/{name}": value for name, value in found.items()}

    def cells(self) -> dict[str, str]:
        """Return the cells of a table by its columns."""
        at_least = "at least " if self.at_least else ""
        cells = (
            self.stage,
            at_least + duration_text(self.wall_s),
            f"{self.amount:,} {self.unit}" if self.amount else "",
            "" if self.rate is None else f"{self.rate:,.3g} {self.unit}/s",
            _hours(self.cpu_s),
            _hours(self.gpu_s),
            duration_text(self.data_wait_s) if self.data_wait_s >= _SHORT_S else "",
            str(self.attempts),
            str(self.retries) if self.retries else "",
            bytes_text(self.bytes) if self.bytes else "",
        )
        return dict(zip(COLUMNS, cells, strict=True))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def cost_table(costs: Sequence[StageCost]) -> dict[str, Any] | None:
    """Return columns and rows of a table of costs, without columns that no stage fills; None without costs."""
    cells = [cost.cells() for cost in costs]
    columns = [column for column in COLUMNS if any(row[column] for row in cells)]
    killed = any(cost.at_least for cost in costs)
    rows = [[row[column] for column in columns] for row in cells]
    return {"columns": columns, "rows": rows, "killed": killed} if costs else None


def cost_from_json(value: Mapping[str, Any]) -> StageCost | None:
    """Return a cost that `as_json` wrote; None if it is of another form, because no result rests on it."""
    names = {one.name for one in fields(StageCost)}
    texts = {"stage", "unit"}
    if value.keys() != names:
        return None
    if not all(isinstance(value[name], str if name in texts else (int, float)) for name in names):
        return None
    return StageCost(**value)


def stage_cost(attempts: Sequence[Attempt], output: str, goal: Mapping[str, int]) -> StageCost | None:
    """Return the sum over the attempts that led to an output; None if none is recorded.

    An attempt at a larger goal counts if it began before this goal was reached.

    Args:
        attempts: The attempts at the work.
        output: The output's folder.
        goal: Its goal.
    """
    amount = next(iter(goal.values()), None) if len(goal) == 1 else None
    counted = [
        one
        for one in attempts
        if (one.output == output or (not one.output and not one.forced)) and (amount is None or one.start < amount)
    ]
    if not counted:
        return None
    # An attempt that found the goal reached, and only sealed it, is not counted, but knows the size.
    own = [one for one in attempts if one.output == output and one.goal == dict(goal)]
    without = [one for one in counted if not one.goal]
    sizes = [one.output_bytes for one in own or without if one.outcome == SEALED]
    return StageCost(
        stage=counted[-1].stage,
        attempts=len(counted),
        unit=next((one.unit for one in reversed(counted) if one.unit), ""),
        amount=sum(one.amount for one in counted),
        wall_s=sum(one.wall_s for one in counted),
        cpu_s=sum(one.cpu_s for one in counted),
        gpu_s=sum(one.gpu_s for one in counted),
        driver_cpu_s=sum(one.driver_cpu_s for one in counted),
        data_wait_s=sum(one.data_wait_s for one in counted),
        retries=sum(one.retries for one in counted),
        bytes=sizes[-1] if sizes else 0,
        at_least=any(not one.outcome for one in counted),
    )


def sealed_bytes(manifest: Manifest, store: Store) -> int:
    """Return the size of the files that a manifest names, with those of the outputs that its figures rest on."""
    total = sum(int(record["bytes"]) for record in named_files(manifest))
    for folder in manifest.facts.get("outputs", {}).values():
        total += sum(int(record["bytes"]) for record in named_files(read_manifest(store, folder)))
    return total


def _hours(seconds: float) -> str:
    return f"{seconds / _HOUR:.3g}" if seconds >= _SHORT_S else ""
