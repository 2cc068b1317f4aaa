"""The source code that worked on an output: each commit once, the earliest first."""

import os
from pathlib import Path

from infra.outputs.source_code import enter_source, sources
from infra.storage.local_store import LocalStore


def test_each_is_recorded_once_and_the_earliest_comes_first(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert sources(store, "train/k") == []
    for source in ("release-0.1.0", "abc", "release-0.1.0", ""):
        enter_source(store, "train/k", source)
    assert set(sources(store, "train/k")) == {"release-0.1.0", "abc"}
    first, second = (tmp_path / "train/k/source" / f"{name}.json" for name in ("abc", "release-0.1.0"))
    for changed_s, file in enumerate((first, second)):
        os.utime(file, (changed_s, changed_s))
    assert sources(store, "train/k") == ["abc", "release-0.1.0"]
