"""The count of skipped steps in a row, by which a diverged run ends; it stays on the training device."""

import torch
from torch import Tensor

from ddpm_core.train_step import StepResult

SKIPS_IN_A_ROW = 10
# A GPU is asked once in so many steps: each question makes the host wait for all the steps that it has sent.
_STEPS_BETWEEN_LOOKS = 100


class Skips:
    """Counts skipped steps in a row, and remembers the longest row.

    In float16 a skipped step counts only if the loss's scale was at most 1: above that the scale is still being found.

    Args:
        device: The training device.
        in_a_row: Skipped steps before the first one that is added.
    """

    def __init__(self, device: torch.device | None = None, in_a_row: int = 0) -> None:
        self._is_on_host = device is None or device.type == "cpu"
        self._in_a_row = torch.full((), in_a_row, dtype=torch.int64, device=device)
        self._longest = self._in_a_row.clone()
        self._since_look = 0

    @property
    def in_a_row(self) -> int:
        """The number so far; reading it waits for the device."""
        return int(self._in_a_row)

    def add(self, result: StepResult, scale: Tensor | None = None) -> None:
        """Count a step; it waits for no device.

        Args:
            result: Of the step.
            scale: The loss's scale in the step; None if it had none.
        """
        counts = True if scale is None else scale <= 1
        self._in_a_row = torch.where(result.applied, 0, self._in_a_row + counts)
        self._longest = torch.maximum(self._longest, self._in_a_row)
        self._since_look += 1

    def are_too_many(self, *, is_last: bool) -> bool:
        """Tell whether ten steps in a row were skipped; on a GPU only at every hundredth step and at the last.

        Args:
            is_last: Whether no further step follows.
        """
        if not (self._is_on_host or is_last or self._since_look >= _STEPS_BETWEEN_LOOKS):
            return False
        self._since_look = 0
        return int(self._longest) >= SKIPS_IN_A_ROW
