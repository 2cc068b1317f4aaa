"""The objects in the preparation's output: parts of the listing, and units, each committed by its account.

    listing/000000.jsonl            entries, one per line, and a last line with their digest
    units/000000-train.<sha>.parquet
    units/000000.json               the account, which names the files and commits them

There are as few objects as possible, because syncing one to disk costs as much as decoding some fifty small images.
"""

import json

from infra.digests import Json, canonical_json, sha256
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Record
from infra.sources.listing.listing import part_entries
from infra.sources.source import Entry

_DIGEST_IN_NAME = 12
# Both the listing and the accounts follow from the source, so one that is gone is made again.
_IF_MISSING = "run again, or run with --force"
_IF_DAMAGED = "delete it and run again, or run with --force"


def put_listing(output: Output, unit: int, part: bytes) -> None:
    """Write one part of the listing, unless it exists."""
    name = f"{output.folder}/listing/{unit:06d}.jsonl"
    if not output.store.exists(name):
        output.store.put_if_absent(name, part + sha256(part).encode())


def listing_entries(output: Output, unit: int) -> list[Entry]:
    """Read one part of the listing.

    Raises:
        IntegrityError: If it is missing or differs from what was written.
    """
    name = f"{output.folder}/listing/{unit:06d}.jsonl"
    try:
        part, end, digest = output.store.read(name).rpartition(b"\n")
    except FileNotFoundError as error:
        raise IntegrityError("is missing", item=name, remedy=_IF_MISSING) from error
    if sha256(part + end) != digest.decode("ascii", "replace"):
        raise IntegrityError("differs from its digest", item=name, remedy=_IF_DAMAGED)
    return part_entries(part)


def commit_unit(output: Output, unit: int, files: dict[str, tuple[bytes, Json]], account: Json) -> None:
    """Commit a unit's Parquet files and its account, put-if-absent; the first committer's account wins.

    Args:
        output: The output to commit to.
        unit: The unit's number.
        files: Bytes and facts of the files, by split.
        account: The outcome of every entry, as JSON.
    """
    records = {}
    for split, (data, facts) in files.items():
        digest = sha256(data)
        file = f"units/{unit:06d}-{split}.{digest[:_DIGEST_IN_NAME]}.parquet"
        output.store.put_if_absent(f"{output.folder}/{file}", data)
        records[split] = Record(file=file, bytes=len(data), sha256=digest, facts=facts).as_json()
    output.store.put_if_absent(_account_name(output, unit), canonical_json(account | {"files": records}))


def is_committed(output: Output, unit: int) -> bool:
    """Tell whether a unit is committed."""
    return output.store.exists(_account_name(output, unit))


def unit_account(output: Output, unit: int) -> Json:
    """Read a committed unit's account; `files` holds its records by split.

    Raises:
        IntegrityError: If it is missing, is not an account, or does not account for every image.
    """
    name = _account_name(output, unit)
    try:
        account: Json = json.loads(output.store.read(name))
        total = sum(account["written"].values()) + sum(account["filtered"].values()) + len(account["quarantined"])
        if total == account["read"] and all(account["files"][split]["facts"] for split in account["files"]):
            return account
    except FileNotFoundError as error:
        raise IntegrityError("is missing", item=name, remedy=_IF_MISSING) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("is not a unit's account", item=name, remedy=_IF_DAMAGED) from error
    raise IntegrityError("does not account for every image", item=name, remedy=_IF_DAMAGED)


def _account_name(output: Output, unit: int) -> str:
    return f"{output.folder}/units/{unit:06d}.json"


def card_name(manifest: Manifest) -> str:
    """The name of a data set's card in the store."""
    return f"{manifest.folder}/card.html"
