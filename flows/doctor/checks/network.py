"""This machine's own address: Ray, Prefect and MLflow talk to themselves over it."""

import socket
import urllib.request
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine
from infra.errors import ResourceError

_HOST = "127.0.0.1"
_LIMIT_S = 3.0


def check(_: Subject) -> Iterator[Finding]:
    """Connect to a port of our own, and look for a proxy in between."""
    with socket.socket() as listener:
        try:
            listener.bind((_HOST, 0))
            listener.listen(1)
            with socket.create_connection(listener.getsockname(), _LIMIT_S):
                pass
        except OSError as error:
            raise ResourceError(
                f"this machine does not reach itself ({error.strerror or error})",
                item=_HOST,
                remedy="allow local connections in the firewall or the container",
            ) from error
    proxies = urllib.request.getproxies()
    through = next((kind for kind in ("http", "all") if kind in proxies), "")
    if through and not urllib.request.proxy_bypass(_HOST):
        yield doubt(
            "requests to this machine's own servers go through a proxy",
            item=f"{through}_proxy",
            remedy="export no_proxy=127.0.0.1,localhost and the hosts of your servers",
        )
    else:
        yield fine("this machine reaches itself, without a proxy", item=_HOST)
