"""The packages that this one needs, and the versions that its tests ran with."""

from collections.abc import Iterator

from packaging.requirements import Requirement

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine, wrong
from flows.doctor.installed import REINSTALL, constraints, requirements, version_of
from infra.errors import ConfigError

# Packages of our packages whose newer versions break them, with the fault.
_CAPS = ((Requirement("sqlalchemy<2.1"), "Prefect's scheduler fails with it, without a word"),)
_SHOWN = 5


def check(_: Subject) -> Iterator[Finding]:
    """Compare what is installed with the requirements, then with the constraints."""
    bad: set[str] = set()
    needed = requirements()
    for requirement, fault in [*((one, "") for one in needed), *_CAPS]:
        if cause := _misfit(requirement, fault):
            bad.add(requirement.name)
            yield wrong(ConfigError(cause, item=requirement.name, remedy=REINSTALL))
    others = [
        f"{one.name} {found} ({one.specifier})"
        for one in constraints()
        if (found := version_of(one.name)) and one.name not in bad and not _fits(one, found)
    ]
    if others:
        more = f", and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        yield doubt(
            f"other versions than the tests ran with: {', '.join(others[:_SHOWN])}{more}",
            item="constraints.txt",
            remedy=REINSTALL,
        )
    if not bad and not others:
        yield fine(f"{len(needed)} packages in versions that fit")


def _misfit(requirement: Requirement, fault: str) -> str:
    found = version_of(requirement.name)
    if not found:
        return "" if fault else "is not installed"
    if _fits(requirement, found):
        return ""
    return f"is {found}, and needs to be {requirement.specifier}{f' ({fault})' if fault else ''}"


def _fits(requirement: Requirement, version: str) -> bool:
    return requirement.specifier.contains(version, prereleases=True)
