"""Optional parts: work goes on without them."""

import shutil
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, fine
from flows.doctor.installed import version_of
from infra.compute.head import dashboard_lacks


def check(_: Subject) -> Iterator[Finding]:
    """Name the parts that are missing, and what they would bring."""
    if missing := dashboard_lacks():
        yield fine(
            f"not installed (no {missing[0]}): Ray then has no dashboard and takes no jobs",
            item="ray[default]",
            remedy=f'for both: pip install "ray[default]=={version_of("ray")}"',
        )
    else:
        yield fine("installed: Ray has its dashboard", item="ray[default]")
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    yield fine(
        f"{compiler} serves train.compile" if compiler else "none: train.compile and sample.compile need one on CPUs",
        item="C++ compiler",
    )
