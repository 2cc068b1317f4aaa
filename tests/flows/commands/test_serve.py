"""`ddpm serve` refuses what it cannot do; what it serves is in tests/e2e/test_servers.py."""

import pytest

from flows.cli import run_command


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--port", "0"], "--port"), (["--port", "70000"], "--port"), (["--limit", "0"], "--limit")]
)
def test_bad_options(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert run_command(["serve", *arguments]) == 2
    assert says in capsys.readouterr().err
