"""The distribution that this package was installed from, and its requirements."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from infra.errors import ConfigError

NAME = "ddpm-flows"
REINSTALL = "install again with the versions of constraints.txt: pip install -c constraints.txt ."
_CONSTRAINTS = Path(__file__).parent.parent.parent / "constraints.txt"


def distribution() -> metadata.Distribution:
    """Return the distribution.

    Raises:
        ConfigError: If the package runs from its folder without being installed.
    """
    try:
        return metadata.distribution(NAME)
    except metadata.PackageNotFoundError as error:
        raise ConfigError("is not installed: it runs from its folder alone", item=NAME, remedy=REINSTALL) from error


def requirements() -> list[Requirement]:
    """Return the requirements that apply here, without those of extras."""
    found = map(Requirement, distribution().requires or ())
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def constraints(file: Path = _CONSTRAINTS) -> list[Requirement]:
    """Return the versions that the tests ran with; none if the package was installed without their file."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            found.append(Requirement(line.partition("#")[0].strip()))
        except InvalidRequirement:  # a blank line, a comment or an option of pip's
            continue
    return found


def version_of(package: str) -> str:
    """Return the version of an installed package, or nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
