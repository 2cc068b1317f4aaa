"""Listings of files made for a test, and the digest of what they hold."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.listing.listing import Listing, listed
from infra.sources.reading import Reading
from infra.sources.source import Entry
from tests.infra.sources.listing.label_kinds import Make


def found(folder: Path, make: Make, contents: Mapping[str, bytes], reading: Reading) -> Listing:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with listed(make(FileSet((str(folder),)), reading), reading) as listing:
        return listing


def digest_of_found(folder: Path) -> str:
    digest = hashlib.sha256()
    for one in FolderSource(FileSet((str(folder),))).find():
        value = one.as_json() if isinstance(one, Entry) else [one.name, hashlib.sha256(one.content).hexdigest()]
        digest.update(json.dumps(value, separators=(",", ":")).encode() + b"\n" * isinstance(one, Entry))
    return digest.hexdigest()
