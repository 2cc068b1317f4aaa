"""The ports that `ddpm up` and `ddpm serve` take unless they are given others."""

import os
import socket
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine

# The port, the server, the option of `ddpm up` that names another, and the variable that names a server of the user's.
PORTS = (
    (4200, "Prefect", "--port", "PREFECT_API_URL"),
    (5000, "MLflow", "--mlflow-port", "MLFLOW_TRACKING_URI"),
    (6379, "Ray", "--ray-port", "RAY_ADDRESS"),
    (8265, "Ray's dashboard", "--dashboard-port", "RAY_ADDRESS"),
)


def check(_: Subject) -> Iterator[Finding]:
    """Bind each for a moment, but for those of servers that variables name, since we start none of these."""
    needed = [one for one in PORTS if not os.environ.get(one[-1])]
    taken = [one for one in needed if not is_free(one[0])]
    for number, server, option, _variable in taken:
        yield doubt(
            f"in use, and `ddpm up` would start {server} there",
            item=f"port {number}",
            remedy=f"if another program has it, choose another port: ddpm up {option}",
        )
    if not needed:
        yield fine("your variables name every server, so none is started")
    elif not taken:
        yield fine(f"{', '.join(str(number) for number, *_rest in needed)} are free")


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of this machine's own address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
