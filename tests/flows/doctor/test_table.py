"""The table of checks is complete, and all of them together fit into a minute."""

from pathlib import Path

from flows.doctor import checks
from flows.doctor.examination import AT_A_TIME
from flows.doctor.table import CHECKS

# The verdict on a node's answer is a part of the check of its cluster.
_PARTS = {"nodes"}


def test_every_file_is_a_check_and_every_name_another() -> None:
    (folder,) = map(Path, checks.__path__)
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"} - _PARTS
    assert {check.run.__module__.rpartition(".")[2] for check in CHECKS} == files
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.about.endswith("?") for check in CHECKS)


def test_a_minute_is_enough_if_no_server_answers() -> None:
    """The checks of servers and of the cluster hang; they start first, and side by side."""
    limits = sorted((check.limit_s for check in CHECKS), reverse=True)
    assert limits[0] <= 50
    ends = [0.0] * AT_A_TIME
    for limit in [*limits[:AT_A_TIME], *[0.5] * (len(limits) - AT_A_TIME)]:
        ends[ends.index(min(ends))] += limit
    assert max(ends) < 55
