"""A connection to Ray, with the variables, the token and the clean-up that a local Ray needs."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from infra.compute.cores import usable_cores
from infra.compute.processes import Reaper
from infra.compute.ray_errors import first_line, plain_errors
from infra.compute.ray_signals import interrupts_kept
from infra.compute.token import local_token
from infra.errors import ResourceError

OBJECT_STORE_BYTES = 256 << 20
_OTHER_DASHBOARD = "RAY_OVERRIDE_DASHBOARD_URL"
_SPARE_CPUS = 2  # for what Ray itself runs beside the work
_LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # A worker that answers nothing for a minute hangs, and its group starts anew; Ray waits ten.
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray prints its nodes' shutdown messages here, fifty lines at a time. Only a skip pattern that matches every line
    # silences them.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else Ray warns of each pool of actors that may restart
}


class Connection:
    """A connection of this process to Ray, opened and closed by `Cluster`.

    Args:
        address: A running cluster's address; None starts a local one that dies with this process.
        cpus: The least number of CPUs of a local one; never less than this machine's own count.
    """

    def __init__(self, address: str | None, cpus: int) -> None:
        self._address, self._cpus = address, cpus
        self._connected = False
        self._environment: dict[str, str | None] = {}
        self.reaper: Reaper | None = None

    @property
    def is_to_this_machine(self) -> bool:
        """True if it is, or is going to be, to a Ray that this process starts; another may have more nodes."""
        ray = sys.modules.get("ray")
        return self._address is None and (ray is None or not ray.is_initialized() or _started_here())

    @property
    def dashboard(self) -> str:
        """The address of Ray's dashboard; empty without a connection, or if there is no dashboard."""
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return ""
        address = os.environ.get(_OTHER_DASHBOARD, "")  # Ray's own answer would leave out its https://
        with contextlib.suppress(Exception):  # because a later Ray may not say, and no work needs it
            address = address or ray._private.worker.get_dashboard_url() or ""
        return address if not address or "://" in address else f"http://{address}"

    def open(self) -> None:
        """Connect, or do nothing if this process has a connection.

        Raises:
            ResourceError: If Ray does not answer.
        """
        if self._connected:
            return
        for name, value in _LOCAL_ENVIRONMENT.items():
            self._set_environment(name, value)
        if self._address is None:
            self._set_environment("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this one node away
            self._set_token()
        import ray

        if ray.is_initialized():
            return
        with interrupts_kept(), self._cleaned_up_after() as reaper, _stderr_closed(), plain_errors("connect"):
            try:
                context = ray.init(**self._options())
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ResourceError(
                    f"Ray did not answer ({first_line(error)})",
                    item=self._address or "local Ray",
                    remedy="check RAY_ADDRESS" if self._address else "run again",
                ) from error
            if reaper is not None:
                reaper.remove_later(context.address_info["session_dir"])
        for name in ("ray", "ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._connected = True

    def close(self) -> None:
        """Close the connection if it was opened here, and reset the variables that were set for it."""
        if self._connected:
            import ray

            with interrupts_kept():
                ray.shutdown()
            self._connected = False
        if self.reaper is not None:
            self.reaper.end()
            self.reaper = None
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment.clear()

    @contextlib.contextmanager
    def _cleaned_up_after(self) -> Iterator[Reaper | None]:
        """Start the reaper of a local Ray: it clears up what Ray leaves behind, even if this process is killed."""
        if self._address is None and self.reaper is None:
            self.reaper = Reaper.start()
        with self.reaper.marking() if self.reaper is not None else contextlib.nullcontext():
            yield self.reaper

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is not None:
            return options | {"address": self._address}
        return options | {
            "address": "local",
            "num_cpus": max(usable_cores(), self._cpus) + _SPARE_CPUS,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }

    def _set_environment(self, name: str, value: str) -> None:
        if name not in os.environ:
            self._environment[name] = None
            os.environ[name] = value

    def _set_token(self) -> None:
        """Keep the local cluster's token in a file that only this user can read; all can read Ray's own."""
        if "RAY_AUTH_MODE" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
            return
        self._set_environment("RAY_AUTH_TOKEN_PATH", str(local_token()))
        self._environment["RAY_AUTH_MODE"] = None  # ray.init sets it


def _started_here() -> bool:
    """Tell whether this process started the Ray that it is connected to; False if a later Ray does not say."""
    import ray

    node = getattr(ray._private.worker, "_global_node", None)
    return node is not None and bool(getattr(node, "head", False))


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Keep Ray's native code from writing its start-up lines between ours; failures are raised all the same."""
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
