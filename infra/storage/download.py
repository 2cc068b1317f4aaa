"""Bytes from any URL that fsspec opens: S3 by s3fs, https, gs, hf, or a cache in front of one of them.

This module serves only to read one file that a user names in Python. fsspec covers more than our own store: public
buckets without credentials, other services and local caches, with the `storage_options` that pandas takes. A run writes
and reads its own outputs through `infra.storage.open` instead, which controls every retry, contacts no server but the
one of the AWS_* variables, and verifies digests.
"""

import re
from collections.abc import Mapping
from typing import Any

from infra.errors import InputError

# A password may hold a slash, so that a colon counts unless a port follows it.
_USER = re.compile(r"//(?:[^/@]*|[^/@:]*:(?!\d*/)(?:(?!//)[^@])*)@")
# Their texts name an unknown scheme, a package to install or an option. Texts of other errors may quote an answer.
_USERS_MISTAKES = (ImportError, TypeError, ValueError)


def is_url(text: str) -> bool:
    """Tell whether a text names its service, as in s3://bucket/key or simplecache::https://host/file."""
    return "://" in text or "::" in text


def without_secrets(url: str) -> str:
    """Return the URL in the form that may be shown: without user, password and query, which may hold a signature."""
    return _USER.sub("//", url).partition("?")[0]


def download(url: str, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of a file.

    Args:
        url: A URL such as s3://bucket/key or https://host/file; fsspec's chains are supported.
        storage_options: Options of the service, as in pandas: {"anon": True} reads a public bucket of S3.

    Raises:
        InputError: If it cannot be read; the message shows neither passwords nor signatures of the URL.
    """
    # Imported here, because it takes a fraction of a second and most runs do not need it.
    import fsspec

    options = dict(storage_options or {})
    if "::" not in url:
        # fsspec caches instances by their arguments, and would keep credentials that the user has since corrected.
        options = {"skip_instance_cache": True} | options
    try:
        files, path = fsspec.url_to_fs(url, **options)
        return bytes(files.cat_file(path))
    except Exception as error:  # because each service raises errors of its own
        raise InputError(f"cannot be read ({_reason(error)})", item=without_secrets(url)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "access is refused"
    if isinstance(error, _USERS_MISTAKES):
        return f"{error}".splitlines()[0] if str(error) else type(error).__name__
    return type(error).__name__
