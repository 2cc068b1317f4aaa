"""The choice among the images of a sample: the image itself is taken, and no mask or second view of it."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from infra.sources.keys import Keys
from infra.sources.listing.partners import Partners
from infra.sources.source import Entry, Found, Other


@dataclass(frozen=True)
class Doubtful:
    """Images that are taken, although they may be companions of others.

    Attributes:
        key: Their key.
        count: How many there are.
    """

    key: str
    count: int


def chosen(found: Iterable[Found]) -> Iterator[Found | Doubtful]:
    """Yield the images to take, an `Other` for each that is left out, and one `Doubtful` per key that may be wrong.

    Plain images pass at once. Those that have a key wait in a temporary file, because only the last of them decides
    which keys are taken; these come after all plain ones.

    Raises:
        InputError: If there are several keys, and none is called like an image.
    """
    keys = Keys()
    with tempfile.TemporaryFile() as waiting, tempfile.TemporaryFile() as plain_names:
        partners = Partners(plain_names)
        for entry in found:
            if isinstance(entry, Entry):
                keys.add(entry)
                partners.add(entry)
            if not isinstance(entry, Entry) or not entry.key:
                yield entry
                continue
            origins = [entry.key, entry.split_from, entry.label_from]
            waiting.write(json.dumps([*entry.as_json(), *origins]).encode() + b"\n")
        partners.finish()
        left_out = keys.left_out(partners.certain())
        waiting.seek(0)
        for line in waiting:
            *stored, key, split_from, label_from = json.loads(line)
            entry = Entry.from_json(stored)
            if key in left_out:
                yield Other(entry.name, key=key, split=entry.split)
            else:
                yield replace(entry, split_from=split_from, label_from=label_from)
    for key in sorted(partners.likely() - left_out):
        yield Doubtful(key, keys.counts[key])
