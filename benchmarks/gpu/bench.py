"""The sections' surroundings: what they measure on, where rows go, and what happens if one fails."""

import gc
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.setting import Precision, Setting, flags_kept
from benchmarks.gpu.table import as_table, figure

# Of a section; rows that would begin later are left out.
_SECTION_LIMIT_S = 45.0


@dataclass
class Bench:
    """One run: its setting, its rows so far, and the figures that later sections relate to.

    Attributes:
        setting: Device and sizes.
        folder: Receives the rows, the table and the errors.
        deadline_s: On the clock of `time.monotonic`, when the budget is spent.
        ceilings: Measured TFLOP/s of a matrix product, by precision.
        flops: Operations per image: `forward`, `train`.
    """

    setting: Setting
    folder: Path
    deadline_s: float
    ceilings: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    section: str = ""
    _section_ends_s: float = 0.0

    def run(self, name: str, estimate_s: float, section: Callable[["Bench"], None]) -> None:
        """Run one section if the budget has room for it; a failure ends this section only."""
        left_s = self.deadline_s - time.monotonic()
        self.section = name
        if left_s < estimate_s:
            self.row("the section", note=f"left out: about {estimate_s:.0f} s needed, {max(left_s, 0):.0f} s left")
            return
        print(f"\n== {name}: about {estimate_s:.0f} s, {left_s:.0f} s left", flush=True)
        started_s = time.monotonic()
        self._section_ends_s = started_s + max(_SECTION_LIMIT_S, estimate_s)
        with flags_kept():
            self._guarded("the section", lambda: section(self))
        print(f"   {name} took {time.monotonic() - started_s:.1f} s", flush=True)
        self.write_table()

    def attempt(self, what: str, call: Callable[[], dict[str, Any]]) -> None:
        """Make one row of what a call returns; if it fails, of the cause."""
        if time.monotonic() > min(self._section_ends_s, self.deadline_s):
            self.row(what, note="left out: the time is spent")
            return

        def measure() -> None:
            with flags_kept():
                self.row(what, **call())

        self._guarded(what, measure)

    def row(self, what: str, **figures: object) -> None:
        """Print a row and write it down."""
        row = {"section": self.section, "what": what} | {k: v for k, v in figures.items() if v is not None}
        self.rows.append(row)
        text = "  ".join(f"{name} {figure(value)}" for name, value in figures.items() if value is not None)
        print(f"{what}: {text}", flush=True)
        with (self.folder / "gpu.jsonl").open("a") as rows:
            rows.write(json.dumps({**row, "measurement": self.setting.cuda and not self.setting.toy}) + "\n")

    def rates(self, precision: Precision, ms: float, images: int, work: str) -> dict[str, Any]:
        """Images/s, TFLOP/s and the share of the measured ceiling, of `images` images in `ms`."""
        tflops = self.flops[work] * images / ms / 1e9 if work in self.flops else None
        # By torch's flags nearly all the work is TF32: convolutions.
        ceiling = self.ceilings.get("TF32" if precision.tf32_convolutions else precision.name)
        share = tflops / ceiling if tflops and ceiling else None
        return {"images_per_s": 1e3 * images / ms, "tflop_per_s": tflops, "share_of_ceiling": share}

    def write_table(self) -> None:
        """Write the rows so far as Markdown."""
        (self.folder / "gpu.md").write_text(as_table(self.rows, self.setting.cuda and not self.setting.toy))

    def _guarded(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self.failed += 1
            cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            self.row(what, failed=cause)
            with (self.folder / "gpu-errors.txt").open("a") as errors:
                errors.write(f"== {self.section}: {what}\n{traceback.format_exc()}\n")
        # The traceback held the tensors of a call that ran out of memory.
        gc.collect()
        if self.setting.cuda:
            torch.cuda.empty_cache()
