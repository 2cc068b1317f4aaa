"""MLflow's own variables, set before it is imported unless the user has set them."""

import os

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # MLflow prints a link whenever a run ends, with the server's password in it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own default blocks about four minutes a call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def set_environment() -> None:
    """Set the variables that are not set yet."""
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
