"""Locations: the one strict parser of local paths and S3 URIs.

It decodes nothing, completes nothing and knows no other scheme. So no text from a setting can name another server,
carry a password into a log or climb out of its folder.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.errors import ConfigError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/|(?i:(s3|file)):")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_STARTS = ("xn--", "sthree-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_KEY_BYTES = 1024
_REMEDY = "give a local path or s3://bucket/prefix"


@dataclass(frozen=True)
class Place:
    """A local folder or file, or an S3 prefix or key.

    Attributes:
        scheme: `file` if it is local, or `s3`.
        bucket: The S3 bucket; empty if it is local.
        path: An absolute local path, or an S3 key without slashes at its ends; empty for a whole bucket.
    """

    scheme: Literal["file", "s3"]
    bucket: str
    path: str

    @property
    def uri(self) -> str:
        """The text that `parse_place` reads as this place."""
        return "/".join(part for part in (f"s3://{self.bucket}", self.path) if part) if self.bucket else self.path


def parse_place(text: str) -> Place:
    """Read a path or a URI.

    Args:
        text: A path, relative to the working folder unless it is absolute; file:///path; or s3://bucket/prefix.

    Raises:
        ConfigError: If it has any other form. The message shows no part of it that may be a password.
    """
    if not text:
        raise ConfigError("a location is needed", item="location", remedy=_REMEDY)
    if not all(char.isprintable() for char in text):
        raise _refusal(text, "has characters that cannot be printed")
    if "::" in text:
        raise _refusal(text, "chains are not supported")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _local(text, text)
    if text.startswith("s3://"):
        return _s3(text)
    if text.startswith("file:///"):
        _check_plain(text, text.removeprefix("file://"))
        return _local(text, text.removeprefix("file://"))
    raise _refusal(text, "only local folders and S3 are supported")


def _local(text: str, path: str) -> Place:
    try:
        return Place("file", "", str(Path(path).expanduser().absolute()))
    except RuntimeError as error:
        raise ConfigError("there is no such home folder", item=f"location {text}", remedy=_REMEDY) from error


def _s3(text: str) -> Place:
    rest = text.removeprefix("s3://")
    if "@" in rest:
        raise _refusal(text, "has a user name or a password", "leave it out: credentials come from AWS_* variables")
    _check_plain(text, rest)
    bucket, _, key = rest.partition("/")
    if ":" in bucket:
        raise _refusal(text, "has a port", "leave it out: set AWS_ENDPOINT_URL for a server of your own")
    if not _is_bucket(bucket):
        raise _refusal(text, "is not a valid bucket name")
    key = key.removesuffix("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        raise _refusal(text, "has an empty part, '.' or '..'")
    if len(key.encode(errors="surrogatepass")) > _KEY_BYTES:
        raise _refusal(text[:80], "is too long for S3")
    return Place("s3", bucket, key)


def _check_plain(text: str, rest: str) -> None:
    for sign, name in (("?", "query"), ("#", "fragment"), ("%", "percent escape"), ("\\", "backslash")):
        if sign in rest:
            raise _refusal(text, f"has a {name}")


def _is_bucket(name: str) -> bool:
    reserved = name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS) or _ADDRESS.fullmatch(name)
    return _BUCKET.fullmatch(name) is not None and ".." not in name and not reserved


def _refusal(text: str, cause: str, remedy: str = _REMEDY) -> ConfigError:
    # The message must not show a password. One may even hold a slash, so everything but the scheme is left out.
    scheme, separator, rest = text.partition("://")
    location = f"{scheme.rpartition(':')[2]}://..." if separator and set(rest) & set("@?#%:") else text
    return ConfigError(cause, item=f"location {location}", remedy=remedy)
