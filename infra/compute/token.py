"""The token of a Ray of our own, in a file that only this user can read; all can read Ray's own file."""

import os
import secrets
from pathlib import Path

from infra.storage.aside import ANOTHER_CACHE, own_state, replaced


def local_token() -> Path:
    """Return the token's file, and make it if it does not exist yet.

    Raises:
        ConfigError: If its folder cannot be written.
        ResourceError: If the disk is full.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-flows"
    token = folder / "ray-token"
    if not token.exists():
        with own_state(folder, ANOTHER_CACHE), replaced(token) as aside:
            aside.touch(mode=0o600)
            aside.write_text(secrets.token_hex(32))
    return token


def token_environment() -> dict[str, str]:
    """Return the variables that lead Ray to the token; none if the user has chosen another way."""
    if "RAY_AUTH_MODE" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(local_token())}
