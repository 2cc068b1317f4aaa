"""The channels of an export: three where the reader accepts nothing else."""

import pytest

from flows.exchange.choices import Channels, ExportFormat, default_channels


@pytest.mark.parametrize("to", ExportFormat)
def test_only_the_evaluator_of_arrays_needs_three_channels(to: ExportFormat) -> None:
    assert default_channels(to) == (Channels.RGB if to == "npz" else Channels.AS_IS)
