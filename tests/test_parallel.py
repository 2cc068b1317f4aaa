"""The parallel runner keeps together what must not run side by side."""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent
# Two ordinary files, and two of those that start servers, with tests that end at once.
FILES = [
    "tests/infra/test_errors.py",
    "tests/infra/storage/test_uri.py",
    "tests/infra/tracking/test_pages.py",
    "tests/infra/storage/test_store.py",
]
RAN = re.compile(r"\[(gw\d)\] .*PASSED (tests/\S+?\.py)")


def test_a_file_and_the_servers_stay_in_one_process() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n2",
        "--dist=loadgroup",
        "-v",
        *FILES,
        "-k",
        "not moto and not seaweed",
    ]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=120, check=False)
    workers: dict[str, set[str]] = {}
    for worker, file in RAN.findall(done.stdout):
        workers.setdefault(file, set()).add(worker)
    assert workers.keys() == set(FILES), done.stdout
    assert all(len(used) == 1 for used in workers.values()), workers
    assert workers[FILES[2]] == workers[FILES[3]], workers
    assert len(set.union(*workers.values())) == 2, "and the rest runs beside them"
