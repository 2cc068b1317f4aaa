"""This Python, and the package in it."""

import platform
import sys
from collections.abc import Iterator

from packaging.specifiers import SpecifierSet

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, fine
from flows.doctor.installed import NAME, distribution
from infra.errors import ConfigError


def check(_: Subject) -> Iterator[Finding]:
    """Compare Python's version with the one that the package needs."""
    own = distribution()
    wanted, version = own.metadata["Requires-Python"] or "", platform.python_version()
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        raise ConfigError(
            f"{NAME} needs Python {wanted}", item=f"Python {version}", remedy="make an environment of a newer Python"
        )
    yield fine(f"{NAME} {own.version}, Python {version} on {platform.system()} {platform.machine()}", item=sys.prefix)
