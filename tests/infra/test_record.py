"""Records are plain data, which loads without MLflow."""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent.parent


def test_records_and_tracker_load_no_mlflow() -> None:
    program = "import sys, infra.record, infra.tracking.tracker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TOP)
    assert not {name for name in done.stdout.split() if name.startswith(("mlflow", "boto3"))}
