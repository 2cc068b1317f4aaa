"""S3 servers of this machine, for as long as a test session lives."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.compute.processes import end_with_parent

# Looked for in all that a run writes: they must be nowhere.
ACCESS_KEY, SECRET_KEY = "AKIACANARYCANARY0001", "canary/secret+0123456789abcdefghijklmnopq"
BUCKET = "runs"
_START_LIMIT_S = 30.0
_SEAWEED_PORTS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class Server:
    """The address of a server."""

    url: str

    def environment(self) -> dict[str, str]:
        """The variables that lead to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


@contextlib.contextmanager
def moto_server() -> Iterator[Server]:
    """Moto in a thread: quick and exact, but its check of If-None-Match is not one step with the put."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        made = Server(f"http://{host}:{port}")
        urllib.request.urlopen(urllib.request.Request(f"{made.url}/{BUCKET}", method="PUT"), timeout=10).close()
        yield made
    finally:
        server.stop()


@contextlib.contextmanager
def seaweed_server(folder: Path) -> Iterator[Server]:
    """SeaweedFS, a real store in a process of its own, which ends with this one."""
    # The port of every part, and beside it that of its remote calls.
    ports = dict(
        zip([f"{part}.port{kind}" for part in _SEAWEED_PORTS for kind in ("", ".grpc")], free_ports(8), strict=True)
    )
    options = [f"-{name}={port}" for name, port in ports.items()]
    weed = Path(sys.executable).with_name("weed")
    command = [
        *(weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}", *options),
        *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        "-s3.autoCreateBucket=false",
        *(f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}"),
    ]
    server = Server(f"http://127.0.0.1:{ports['s3.port']}")
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | server.environment() | {"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,
        )
    try:
        _await_bucket(process, server, folder / "server.log")
        yield server
    finally:
        process.kill()
        process.wait()


def _await_bucket(process: "subprocess.Popen[bytes]", server: Server, log: Path) -> None:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import Session

    client = Session().create_client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)
