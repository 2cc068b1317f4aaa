"""Two runs of one plan at once: both end well, with one result."""

import json
import subprocess
import sys
from pathlib import Path

from tests.pictures import encoded, picture

PROGRAM = """
import json, sys
from flows.stages.prepare.config import PrepareConfig
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from infra.compute.cluster import Cluster
from infra.storage.open import open_store
store = open_store(sys.argv[1])
store.make()
sys.stdin.readline()
config = PrepareConfig(source=sys.argv[2], image_size=8, unit_images=4)
dataset = prepare(config, Context(store=store, cluster=Cluster(mode="in-process"), force=False))
print(json.dumps([dataset.digest, dataset.train_images, dataset.test_images]))
"""
RUNS = 3


def test_one_result(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(60):
        (source / f"{number:02d}.png").write_bytes(encoded(picture(number)))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "root"), str(source)]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(RUNS)]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    told = [run.communicate(timeout=100)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * RUNS
    results = [json.loads(text) for text in told]
    assert results[1:] == results[:-1]
    assert sum(results[0][1:]) == 60
    units = tmp_path / "root" / "prepare"
    assert len([path for path in units.rglob("units/*.json")]) == 15
    assert len([path for path in units.rglob("manifests/*.json")]) == 1
