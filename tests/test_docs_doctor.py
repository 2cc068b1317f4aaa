"""The pages on `ddpm doctor` and `ddpm up` name every check, option and exit code as they are."""

import inspect
import re
from pathlib import Path

from flows.commands import up
from flows.doctor.table import CHECKS
from flows.servers import Ports
from infra.server_process import _RESTARTS, Program

DOCS = Path(__file__).parent.parent / "docs"
DOCTOR, UP = ((DOCS / name).read_text() for name in ("doctor.md", "up.md"))


def test_the_table_of_the_doctor_has_every_check_in_order() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", DOCTOR, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == [check.name for check in CHECKS]


def test_the_longest_limits_of_the_page_are_those_of_checks() -> None:
    (limit,) = re.findall(r"no answer in (\d+) s", DOCTOR)
    assert float(limit) in {check.limit_s for check in CHECKS}


def test_ports_and_limits_of_the_page_are_the_defaults() -> None:
    defaults = {name: one.default for name, one in inspect.signature(up.up).parameters.items() if "port" in name}
    assert Ports(prefect=4200, mlflow=5000, ray=6379, dashboard=8265) == Ports(
        prefect=defaults["port"],
        mlflow=defaults["mlflow_port"],
        ray=defaults["ray_port"],
        dashboard=defaults["dashboard_port"],
    )
    assert all(str(port) in UP for port in defaults.values())
    assert (Program(name="", command=(), answers=bool).start_limit_s, _RESTARTS) == (120.0, 3)
    assert "two minutes" in UP
    assert "up to three times" in UP
