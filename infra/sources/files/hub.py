"""Data sets of the Hugging Face Hub: files of a repository, listed at one commit and read as they were found.

The token comes from HF_TOKEN or the login of the machine, the server from HF_ENDPOINT; neither is part of a place.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from infra.errors import ConfigError, DdpmError, InputError, StorageError
from infra.sources.files.file import File, changed
from infra.sources.files.pattern import HUB, Pattern

_Result = TypeVar("_Result")
_FORM = re.compile(r"datasets/([\w.-]+/[\w.-]+)(?:@(refs/(?:convert|pr)/\w+|[\w.-]+))?(?:/(.*))?")
_BRANCH = "main"
# Errors of huggingface_hub by name, the narrower ones first.
_REFUSALS: tuple[tuple[str, type[DdpmError], str, str], ...] = (
    (
        "GatedRepoError",
        ConfigError,
        "is open only to those who accepted its conditions",
        "accept its conditions on its page and set HF_TOKEN",
    ),
    (
        "RepositoryNotFoundError",
        ConfigError,
        "is not there, or private",
        "correct the name, or set HF_TOKEN to a token that may read it",
    ),
    ("RevisionNotFoundError", ConfigError, "has no such revision", "correct what follows the @"),
    ("EntryNotFoundError", InputError, "is not there", "correct the path in the data set"),
    ("OfflineModeIsEnabled", ConfigError, "cannot be read offline", "unset HF_HUB_OFFLINE"),
)
_TIMEOUT_S = 15.0
_RETRIES = 2
_PARTIAL = 206
_REMEDY = "give it as hf://datasets/OWNER/NAME, then @REVISION and /PATH if you like"


@dataclass(frozen=True)
class HubPlace:
    """A folder or a file of a data set on the Hub.

    Attributes:
        repository: OWNER/NAME.
        revision: A branch, a tag or a commit.
        path: The path in the repository; empty for all of it.
    """

    repository: str
    revision: str
    path: str


def hub_place(text: str) -> HubPlace:
    """Read hf://datasets/OWNER/NAME[@REVISION][/PATH].

    Raises:
        ConfigError: If it has any other form.
    """
    found = _FORM.fullmatch(text.removeprefix(HUB))
    path = (found[3] or "").removesuffix("/") if found else ""
    if not found or any(part in ("", ".", "..") for part in path.split("/") if path) or not text.isprintable():
        shown = text if "@" not in text.partition("datasets/")[0] else f"{HUB}..."
        raise ConfigError("is not a data set of the Hugging Face Hub", item=f"location {shown}", remedy=_REMEDY)
    return HubPlace(found[1], found[2] or _BRANCH, path)


def hub_files(base: str, wanted: Sequence[Pattern | None]) -> Iterator[File]:
    """Find the files below a folder of a data set that match a pattern and are not hidden, in the order of their names.

    Raises:
        ConfigError: If there is no such data set, revision or folder, or it may not be read.
        StorageError: If the Hub does not answer.
    """
    place = hub_place(base)

    def listing() -> list[File]:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=_endpoint())
        commit = api.dataset_info(place.repository, revision=place.revision, timeout=_TIMEOUT_S).sha
        folder = quote(f"{commit}/{place.path}".rstrip("/"))
        start = f"{place.path}/" if place.path else ""
        return [
            File(name=one["path"].removeprefix(start), size=one["size"], stamp=(one.get("lfs") or one)["oid"])
            for one in _pages(f"{api.endpoint}/api/datasets/{place.repository}/tree/{folder}?recursive=true")
            if one["type"] == "file"
        ]

    for file in sorted(_asked(listing, base, "listing its files"), key=lambda file: file.name):
        hidden = any(part.startswith(".") for part in file.name.split("/"))
        if not hidden and any(pattern is None or pattern.matches(file.name) for pattern in wanted):
            yield file


def _pages(url: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a list that comes in pages; unlike the library's own way, every wait for one is bounded."""
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    headers = build_hf_headers()
    while url:
        reply = http_backoff(
            "GET", url, headers=headers, timeout=_TIMEOUT_S, max_retries=_RETRIES, follow_redirects=True
        )
        hf_raise_for_status(reply)
        yield from reply.json()
        url = reply.links.get("next", {}).get("url", "")


def hub_read(path: str, file: File, start: int, length: int | None) -> bytes:
    """Return a file's bytes from `start`, all or `length` of them.

    Raises:
        IntegrityError: If it is gone, or is another file than the one found.
        StorageError: If the Hub does not answer.
    """
    place = hub_place(path)
    size = min(file.size - start, file.size if length is None else length)
    if size <= 0:
        return b""

    def fetch() -> bytes:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        url = hf_hub_url(
            place.repository, place.path, repo_type="dataset", revision=place.revision, endpoint=_endpoint()
        )
        headers = build_hf_headers() | {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        reply = http_backoff("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True)
        try:
            hf_raise_for_status(reply)
        except EntryNotFoundError as error:
            raise changed(path) from error
        if file.stamp not in _etags([*reply.history, reply]):
            raise changed(path)
        data = bytes(reply.content)
        return data if reply.status_code == _PARTIAL else data[start : start + size]

    data = _asked(fetch, path, "reading it")
    if len(data) != size:
        raise changed(path)
    return data


def _etags(replies: Sequence[Any]) -> set[str]:
    """The stamps in an answer and in the redirects before it; that of a large file is in the first of them."""
    found = [reply.headers.get(name, "") for reply in replies for name in ("x-linked-etag", "etag")]
    return {text.removeprefix("W/").strip('"') for text in found}


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _asked(act: Callable[[], _Result], item: str, what: str) -> _Result:
    """Ask the Hub for something; every error is one of ours."""
    try:
        return act()
    except DdpmError:
        raise
    except ModuleNotFoundError as error:
        cause = "needs huggingface_hub, which is not installed"
        raise ConfigError(cause, item=item, remedy="pip install 'ddpm-flows[hf]'") from error
    except Exception as error:  # also those of the library that carries its requests, which has changed before
        names = {kind.__name__ for kind in type(error).__mro__}
        for name, kind, cause, remedy in _REFUSALS:
            if name in names:
                raise kind(cause, item=item, remedy=remedy) from error
        raise StorageError(
            f"the Hub does not answer ({type(error).__name__} while {what})", item=item, remedy="run again"
        ) from error
