"""The source code that worked on an output: an object per commit or release, beside the plan and never digested.

    <folder>/source/<commit>.json

What a checkout has changed since its commit is not recorded.
"""

from infra.digests import canonical_json
from infra.storage.store import Store

FOLDER = "source"


def enter_source(store: Store, folder: str, source: str) -> None:
    """Record that some source code works on an output, unless it is recorded already.

    Args:
        store: The store of the output.
        folder: The output's folder.
        source: The commit, or a release such as `release-0.1.0`; nothing is recorded if it is empty.
    """
    if source:
        store.put_if_absent(f"{folder}/{FOLDER}/{source}.json", canonical_json({"source": source}))


def sources(store: Store, folder: str) -> list[str]:
    """Return the commits and releases that worked on an output, the earliest first."""
    found = sorted(store.objects(f"{folder}/{FOLDER}"), key=lambda one: (one.changed_s, one.name))
    return [one.name.rpartition("/")[2].removesuffix(".json") for one in found]
