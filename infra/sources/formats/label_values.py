"""Stored labels as names of classes: numbers, words, one-hot vectors; several labels per image are none."""

import math
from collections.abc import Sequence

_SEVERAL = "several labels per image"


class LabelValues:
    """Reads the labels of one place, one after the other, and notices if they are no classes.

    Attributes:
        trouble: Why the labels so far are no classes; empty if they are.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self._width: int | None = None

    def name(self, value: object, names: Sequence[str] = ()) -> str:
        """Return the class that a stored value stands for; empty if it stands for none.

        Args:
            value: A whole number, also as a float; true or false; a word; a list of one of these or one-hot; or None.
            names: Names of the classes by their number, if there are any.
        """
        if isinstance(value, list | tuple):
            return self._of_list(value, names)
        match value:
            case None:
                return ""
            case bool():
                return "true" if value else "false"
            case float() if math.isnan(value):
                return ""
            case float() if not value.is_integer():
                self.trouble = self.trouble or "fractions"
                return ""
            case int() | float():
                number = int(value)
                return names[number] if 0 <= number < len(names) else str(number)
            case str():
                return value
        self.trouble = self.trouble or f"values of the type {type(value).__name__}"
        return ""

    def _of_list(self, values: Sequence[object], names: Sequence[str]) -> str:
        """A list of one label, or a list of zeros and a single one that is as long as all the others."""
        if self._width not in (None, len(values)):
            self.trouble = self.trouble or _SEVERAL
        self._width = len(values)
        if len(values) == 1:
            return self.name(values[0], names)
        if all(isinstance(value, bool | int | float) and value in (0, 1) for value in values) and sum(values) == 1:  # type: ignore[arg-type]
            return self.name(next(number for number, value in enumerate(values) if value), names)
        self.trouble = self.trouble or _SEVERAL
        return ""
