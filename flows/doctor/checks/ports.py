"""The ports that `ddpm up` and `ddpm serve` take unless they are given others."""

import socket
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine

# The port, the server, and the option of `ddpm up` that names another.
PORTS = (
    (4200, "Prefect", "--port"),
    (5000, "MLflow", "--mlflow-port"),
    (6379, "Ray", "--ray-port"),
    (8265, "Ray's dashboard", "--dashboard-port"),
)


def check(_: Subject) -> Iterator[Finding]:
    """Bind each for a moment."""
    taken = [one for one in PORTS if not is_free(one[0])]
    for number, server, option in taken:
        yield doubt(
            f"in use, by a server of yours or another program; `ddpm up` would start {server} there",
            item=f"port {number}",
            remedy=f"if it is another program, choose another port: ddpm up {option}",
        )
    if not taken:
        yield fine(f"{', '.join(str(number) for number, *_ in PORTS)} are free")


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of this machine's own address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
