"""MLflow's server before a database of this machine, at this machine's own address alone."""

import sys
import urllib.request
from pathlib import Path

from infra.server_process import Program

HOST = "127.0.0.1"
_LIMIT_S = 5.0


def mlflow_program(database: str, artifacts: Path, port: int, environment: dict[str, str]) -> Program:
    """Return the program of a server.

    Artifacts go where a run without a server puts them, so that it can go on with the same database.

    Args:
        database: The SQLAlchemy URI of the database.
        artifacts: The folder of artifacts.
        port: Its port.
        environment: Further variables.
    """
    url = server_url(port)
    return Program(
        name="MLflow",
        command=(
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", database),
            *("--default-artifact-root", artifacts.as_uri(), "--no-serve-artifacts"),
        ),
        environment={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            **environment,
        },
        answers=lambda: answers(url),
    )


def server_url(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://{HOST}:{port}"


def answers(url: str) -> bool:
    """Tell whether an MLflow server answers at an address."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=_LIMIT_S) as reply:
            return bool(reply.read(16).strip() == b"OK")
    except (OSError, ValueError):
        return False
