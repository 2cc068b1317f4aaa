"""The verdict on a node's answer."""

from collections.abc import Iterator, Mapping

from flows.doctor.finding import Finding, doubt, wrong
from flows.doctor.node import Node
from infra.errors import ConfigError, ResourceError, error_from_json

# With another version of these a node cannot take our work; another one of the rest may round differently.
_STRICT = ("Python", "ray", "ddpm-flows")
_FULL = 0.95
_LEAST_SHARED = 256 << 20
_ENOUGH_FILES = 4096


def faults(node: Node, resources: Mapping[str, float], here: Mapping[str, str], item: str) -> Iterator[Finding]:
    """Yield a finding for everything that is wrong with a node, or worth a warning.

    Args:
        node: Its answer.
        resources: Its resources by Ray's names.
        here: The versions of the driver.
        item: Its name.
    """
    works = bool(resources.get("CPU") or resources.get("GPU"))
    yield from _versions(node, here, item)
    yield from _gpus(node, resources, item)
    if node.fault:
        error = error_from_json(node.fault)
        cause = (
            error.cause if error.item in error.cause else f"{error.item}: {error.cause}" if error.item else error.cause
        )
        if works:
            yield wrong(type(error)(cause, item=item, remedy=error.remedy))
        else:
            yield doubt(f"{cause}; it has no CPUs for work", item=item, remedy=error.remedy)
    if node.used > _FULL:
        cause = f"the disk of Ray's temporary folder is {100 * node.used:.0f} % full, and Ray takes nothing above 95 %"
        yield wrong(ResourceError(cause, item=item, remedy="free some there"))
    if node.shared is not None and node.shared < _LEAST_SHARED:
        cause = f"/dev/shm has {node.shared >> 20} MiB; Ray then keeps objects on the disk, which is slower"
        yield doubt(cause, item=item, remedy="give its container more, such as --shm-size=1g")
    if 0 <= node.files < _ENOUGH_FILES:
        yield doubt(f"a process may open {node.files} files only", item=item, remedy=f"ulimit -n {_ENOUGH_FILES} there")


def _versions(node: Node, here: Mapping[str, str], item: str) -> Iterator[Finding]:
    other = {name: (node.versions.get(name, "missing"), own) for name, own in here.items()}
    other = {name: pair for name, pair in other.items() if pair[0] != pair[1]}
    hard = [f"{name} {there} there, {own} here" for name, (there, own) in other.items() if name in _STRICT]
    soft = [f"{name} {there} there, {own} here" for name, (there, own) in other.items() if name not in _STRICT]
    if hard:
        yield wrong(ConfigError(", ".join(hard), item=item, remedy="install the same versions on all nodes"))
    if soft:
        yield doubt(f"{', '.join(soft)}: bytes may differ", item=item, remedy="install the same versions on all nodes")


def _gpus(node: Node, resources: Mapping[str, float], item: str) -> Iterator[Finding]:
    offered, seen = int(resources.get("GPU", 0)), len(node.hardware.gpus)
    if offered and not seen:
        yield wrong(
            ResourceError(
                f"offers {offered} GPUs to Ray, and its torch sees none",
                item=item,
                remedy="install a driver and a torch for GPUs there, or set device=cpu",
            )
        )
    elif seen > offered:
        yield doubt(
            f"torch sees {seen} GPUs there, and Ray may use {offered}", item=item, remedy=f"ray start --num-gpus={seen}"
        )
