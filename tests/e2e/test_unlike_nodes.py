"""A real pool grows onto a node that joined and differs: recorded and said, or refused."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster as Machines

from flows.nodes.environment import Environment
from flows.nodes.survey import Survey, SurveyedTask
from flows.stage import Context
from infra.compute.cluster import Cluster
from infra.compute.units import Workers
from infra.errors import ConflictError
from infra.outputs.environments import periods_of
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store
from tests.hardware import answer_by_resource

pytestmark = pytest.mark.slow

PLAN = Plan(stage="bake", format_version=1, settings={}, inputs={})
WORKERS = Workers(count=2)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    """A head without processors, and a node of one."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        made.add_node(num_cpus=1, object_store_memory=80 << 20)
        yield made
    finally:
        made.shutdown()


@dataclass(frozen=True)
class UntilTwoNodes:
    """Units that last until two nodes have worked, or a minute in all."""

    folder: str

    def open(self) -> Callable[[int], None]:
        def run(unit: int) -> None:
            (Path(self.folder) / f"{unit}-{ray.get_runtime_context().get_node_id()}").touch()
            end = time.monotonic() + 10
            while time.monotonic() < end and len({path.name[2:] for path in Path(self.folder).iterdir()}) < 2:
                time.sleep(0.1)

        return run


@pytest.mark.parametrize("strict", [False, True])
def test_a_node_that_joins_and_differs(machines: Machines, tmp_path: Path, strict: bool) -> None:
    (tmp_path / "units").mkdir()
    store, lines = open_store(str(tmp_path / "root")), []
    store.make()
    done: set[int] = set()

    def make(output: Output, survey: Survey) -> Manifest:
        machines.add_node(num_cpus=1, resources={"old": 1}, object_store_memory=80 << 20)
        context.run_missing(
            SurveyedTask(task=UntilTwoNodes(str(tmp_path / "units")), survey=survey, output=output),
            range(6),
            stage="bake",
            workers=WORKERS,
            is_done=lambda _: False,
            size=lambda _: 1,
            on_unit=done.add,
        )
        return output.seal({}, [], {})

    environment = Environment(work="measuring", workers=WORKERS)
    with Cluster(address=machines.address, probe=answer_by_resource) as cluster:
        context = Context(store=store, cluster=cluster, say=lines.append, strict_environment=strict)
        if strict:
            with pytest.raises(ConflictError, match=r"a node that joined has another environment \(torch: 2.13 there"):
                context.sealed(PLAN, {}, lambda: environment, make)
            return
        manifest, _ = context.sealed(PLAN, {}, lambda: environment, make)
    assert done == set(range(6))
    assert [period.environment["torch"] for period in periods_of(manifest)] == ["2.13", "2.11"]
    (line,) = lines
    assert line.startswith("bake: a node that joined works in another environment (torch: 2.13 there, 2.11 here); ")
