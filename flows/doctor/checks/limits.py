"""The number of files that a process may open."""

import resource
from collections.abc import Iterator

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine

# Ray's processes and a worker's connections to S3 share one limit per process.
_ENOUGH = 4096


def check(_: Subject) -> Iterator[Finding]:
    """Compare the limit with what Ray needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _ENOUGH:
        may = hard == resource.RLIM_INFINITY or hard >= _ENOUGH
        yield doubt(
            f"a process may open {soft} files only",
            item="ulimit -n",
            remedy=f"ulimit -n {_ENOUGH}" if may else f"raise the hard limit of {hard} in /etc/security/limits.conf",
        )
    else:
        yield fine(f"{'any number of' if soft == resource.RLIM_INFINITY else soft} files", item="ulimit -n")
