"""Secrets are taken out of every line before anybody sees it, whatever a library wrote into its errors."""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN(?!_PATH)|AUTH_STRING|API_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_SHORTEST = 4
_STARS = "***"


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Return the secret values of variables, the longest first: those named so, and passwords in addresses."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    found |= {part for value in set(found) for part in value.split(":", 1)[1:]}  # user:password
    for value in environment.values():
        if "://" in value and "@" in value:
            found.add(_password(value))
    found |= {changed for value in found for changed in (quote(value), quote(value, safe=""), unquote(value))}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)


def redacted(text: str, secrets: list[str]) -> str:
    """Return a text without these secrets, and without user names and passwords in addresses."""
    for secret in secrets:
        text = text.replace(secret, _STARS)
    return _USER_INFO.sub(f"{_STARS}@", text)


def _password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""
