"""Work in progress has one place beside its target, which one process holds at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.exchange.partial import partial_file, partial_folder, partial_place
from infra.errors import ConflictError

HOLD = """
import sys, time
from pathlib import Path
from flows.exchange.partial import partial_file, partial_folder
with {kind}(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["partial_file", "partial_folder"])
def test_the_place_is_free_once_its_process_was_killed(kind: str, tmp_path: Path) -> None:
    target, provide = tmp_path / "a", {"partial_file": partial_file, "partial_folder": partial_folder}[kind]
    command = [sys.executable, "-c", HOLD.format(kind=kind), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConflictError, match="another export writes this"), provide(target):
            pass
        process.kill()
    assert partial_place(target).exists()
    with provide(target):
        assert not target.exists()
    assert target.exists()
    assert not partial_place(target).exists()


def test_a_link_at_the_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("mine")
    partial_place(tmp_path / "a").symlink_to(tmp_path / "users")
    with pytest.raises(OSError, match="symbolic links"), partial_file(tmp_path / "a"):
        pass
    assert (tmp_path / "users").read_text() == "mine"
