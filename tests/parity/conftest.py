"""Our figures, computed once per process."""

from collections.abc import Iterator

import pytest
import torch

from tests.parity.ours import Ours


@pytest.fixture(scope="session")
def ours() -> Ours:
    """The network with the weights that the other programs had."""
    return Ours()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Other tests have the other cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
