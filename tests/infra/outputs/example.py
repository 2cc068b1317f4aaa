"""Outputs of an example stage: sealed, and the places of their files."""

from pathlib import Path

from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output

HERE = {"device": "x86_64 AVX2", "torch": "1"}


def seal(output: Output, count: int = 3, goal: dict[str, int] | None = None) -> Manifest:
    output.begin(HERE)
    units = []
    for number in range(count):
        record = output.commit(f"units/{number:06d}", "bin", f"unit {number}".encode(), {"n": number})
        units.append({"unit": number, "rows": number + 1, **record.as_json()})
    return output.seal(goal or {}, units, {"total": count})


def path(output: Output, name: str) -> Path:
    return Path(output.store.uri) / output.folder / name
