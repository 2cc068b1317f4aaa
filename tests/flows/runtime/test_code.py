"""The code of two processes is told apart by its bytes, wherever it lies."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.runtime.code import check_code, own_code, source_digest
from infra.errors import ConfigError

TOP = Path(__file__).parents[3]


def test_equal_code_has_one_digest_wherever_it_lies(tmp_path: Path) -> None:
    for package in ("ddpm_core", "infra", "flows"):
        shutil.copytree(TOP / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.html"))
    assert source_digest(tmp_path) == source_digest(TOP) == own_code().source
    changed = tmp_path / "flows" / "cli.py"
    changed.write_text(changed.read_text() + "\n")
    before = source_digest(tmp_path)
    assert before != source_digest(TOP)
    changed.rename(changed.with_name("other.py"))
    assert source_digest(tmp_path) != before


def test_code_that_differs_is_named() -> None:
    own = own_code()
    check_code(asdict(own), own, "node-1")
    other = replace(own, python="3.99", source="0" * 64)
    with pytest.raises(ConfigError) as refused:
        check_code(asdict(other), own, "node-1")
    assert str(refused.value) == (
        f"cluster, host node-1: has other code than this run (Python {own.python}, here 3.99; "
        f"its source {own.source[:12]}, here 000000000000) - "
        "install one release of ddpm-flows, with its constraints, here and on every node"
    )
    with pytest.raises(ConfigError, match=f"Python {own.python}, here unknown"):
        check_code({}, own, "node-1")
