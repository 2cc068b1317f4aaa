"""The environment of the other programs: a venv that takes torch, NumPy, SciPy and Pillow from the project's own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def pins() -> dict[str, tuple[str, str]]:
    """Return the version and the release date of each package by its name."""
    found = {}
    for line in REQUIREMENTS.read_text().splitlines():
        if not line.startswith("#"):
            pin, date = line.split("#")
            name, version = pin.strip().split("==")
            found[name] = (version, date.strip())
    return found


def make(folder: Path) -> Path:
    """Make the environment unless it holds these versions already; return its Python.

    Raises:
        subprocess.CalledProcessError: If a package cannot be installed.
    """
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if stamp.is_file() and stamp.read_text() == REQUIREMENTS.read_text():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    place = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    # Packages of its own come first on the path; --no-deps keeps a second torch out.
    Path(place.stdout.strip(), "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(REQUIREMENTS.read_text())
    return python
