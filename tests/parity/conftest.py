"""Our figures, computed once per process."""

import pytest

from tests.parity.ours import Ours


@pytest.fixture(scope="session")
def ours() -> Ours:
    """The network with the weights that the other programs had."""
    return Ours()
