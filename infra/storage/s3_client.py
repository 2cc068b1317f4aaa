"""botocore's client without retries of its own, and the meaning of its errors."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.errors import ConfigError

_CONNECTIONS = 32
_NO_SIGN = "AWS_NO_SIGN_REQUEST"
_FORBIDDEN, _NOT_FOUND = 403, 404
# Temporary errors, although their status blames the request.
_PASSING = ("RequestTimeout", "BadDigest", "SlowDown", "Throttling", 408, 409, 429)
_CREDENTIALS = ("the store refuses the credentials", "correct or renew them")
_RIGHTS = ("not allowed", "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there")
_REGION = ("the bucket is in another region", "set AWS_REGION to it")
_CAUSES = {
    "NoSuchBucket": ("there is no such bucket", "create it, or correct its name"),
    "ExpiredToken": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "RequestTimeTooSkewed": ("the store's clock and ours differ", "set this machine's clock"),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    401: _RIGHTS,
    403: _RIGHTS,
    301: _REGION,
    307: _REGION,
    501: ("the store cannot do this", "use one with conditional writes"),
}


@dataclass(frozen=True)
class Limits:
    """The bounds of every wait for a store, in seconds.

    Attributes:
        total_s: Time after the first attempt after which no further one starts.
        connect_s: Longest wait for a connection.
        read_s: Longest wait for the next bytes of an answer.
        first_wait_s: Wait before the second attempt; it doubles before each further one.
        longest_wait_s: The longest wait between two attempts.
    """

    total_s: float = 60.0
    connect_s: float = 5.0
    read_s: float = 15.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0


def client(limits: Limits) -> Any:  # noqa: ANN401  # because botocore makes its clients' classes at run time
    """Return this process's client for the current AWS_* variables; it is safe to use from several threads.

    Raises:
        ConfigError: If no client can be made from these variables.
    """
    variables = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _client(os.getpid(), variables, limits.connect_s, limits.read_s)


@functools.lru_cache(maxsize=4)
def _client(process: int, variables: tuple[tuple[str, str], ...], connect_s: float, read_s: float) -> Any:  # noqa: ANN401 - as above
    # A client made before a fork shares its sockets with the parent, so `process` is part of the cache's key.
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    endpoint = _endpoint(dict(variables))
    config = Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=_CONNECTIONS,
        ignore_configured_endpoint_urls=True,
        request_checksum_calculation="when_required",
        signature_version=UNSIGNED if _is_unsigned(dict(variables)) else None,
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    try:
        return Session().create_client("s3", endpoint_url=endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"do not define an S3 client: {type(error).__name__}",
            item="AWS_* variables",
            remedy="see AWS_PROFILE and AWS_REGION",
        ) from error


def _is_unsigned(variables: Mapping[str, str]) -> bool:
    """Whether requests are sent without credentials, for public buckets; the variable is that of the AWS tools."""
    text = variables.get(_NO_SIGN, "").lower()
    if text not in ("", "0", "1", "false", "true", "no", "yes"):
        raise ConfigError("is neither true nor false", item=_NO_SIGN, remedy="set it to true or unset it")
    return text in ("1", "true", "yes")


def _endpoint(variables: dict[str, str]) -> str:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if text := variables.get(name, ""):
            try:
                url = urlsplit(text)
                whole = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            except ValueError:
                whole = False
            if not whole or "@" in text or url.query or url.fragment:
                raise ConfigError("is not of the form https://host:port", item=name, remedy="correct or unset it")
            return text
    return ""


def status_of(error: Exception) -> int:
    """The HTTP status that an error reports; 0 if there was no answer."""
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: Exception) -> str:
    """A short name of the error; never its message, which comes from outside."""
    return str(_response(error).get("Error", {}).get("Code", "")) or type(error).__name__


def refused(error: Exception, item: str) -> Exception | None:
    """Translate an error that no retry can mend; return None for all others.

    A missing object becomes FileNotFoundError, everything else a ConfigError.
    """
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError, TokenRetrievalError

    status, code = status_of(error), code_of(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | TokenRetrievalError):
        remedy = f"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret; for a public bucket {_NO_SIGN}=true"
        return ConfigError("there are no credentials", item=item, remedy=remedy)
    if status == _FORBIDDEN and _is_unsigned(os.environ):
        return ConfigError(f"not allowed without credentials: {code}", item=item, remedy=f"unset {_NO_SIGN}")
    if explanation := _CAUSES.get(code) or _CAUSES.get(status):
        return ConfigError(f"{explanation[0]}: {code}", item=item, remedy=explanation[1])
    if status == _NOT_FOUND:
        return FileNotFoundError(item)
    if 400 <= status < 500 and not {code, status} & set(_PASSING):
        return ConfigError(f"the store refuses: {code} ({status})", item=item, remedy="correct bucket and prefix")
    return None


def worth_repeating(error: Exception) -> bool:
    """Return True for an error of the store or the network, False for a bug of ours."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    passing = (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        exceptions.FlexibleChecksumError,
        exceptions.CredentialRetrievalError,
        exceptions.MetadataRetrievalError,
        ResponseParserError,
        OSError,
    )
    return status_of(error) > 0 or isinstance(error, passing)


def may_have_happened(error: Exception) -> bool:
    """Tell whether a request that failed with this error may have been carried out."""
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

    if status := status_of(error):
        return status >= 500
    return not isinstance(error, EndpointConnectionError | ConnectTimeoutError)


def _response(error: Exception) -> dict[str, Any]:
    return getattr(error, "response", None) or {}
