"""What a process asks of the system it runs on."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it ends; on Linux alone, elsewhere do nothing.

    A worker of Ray's that waits for ever in its own end (2.60: a lock taken twice while its destructors run) would else
    outlive the cluster, with all that it has loaded.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
