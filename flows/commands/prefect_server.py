"""A Prefect server that ends with the process that started it, however that ends.

Called as `python -m flows.commands.prefect_server PORT PARENT_PID`.
"""

import os
import sys
import threading
import time

_POLL_S = 0.5


def _end_with(parent: int) -> None:
    """Leave at once when this process has been handed to another parent: its own is gone."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(0)


def _keep_to_one_processor() -> None:
    """Halve the time of a new database: its migrations change threads 70,000 times, cheaply on one processor only."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Serve until told to stop or left alone."""
    port, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _keep_to_one_processor()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
