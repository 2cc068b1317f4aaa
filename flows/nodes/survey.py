"""The nodes that some work may use and their environments, and the worker that finds itself on another one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from flows.nodes.environment import Environment, here
from infra.compute.answers import Probe, this_node
from infra.compute.cluster import Cluster
from infra.compute.hardware import Hardware, joined, mixture
from infra.compute.nodes import HERE
from infra.compute.units import UnitTask
from infra.errors import ConflictError, Term
from infra.outputs.environments import FACT, Environments, differences
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output

_ONE_KIND = f"take nodes of one kind, or {Term.ANY_ENVIRONMENT}"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The environments of the nodes that may do some work, as they were when it began.

    Attributes:
        environment: The parts that count.
        nodes: The ids of the nodes.
        found: Their different environments.
        strict: Refuse any other environment.
        probe: Returns the hardware of the machine that calls it; None for what torch finds there.
    """

    environment: Environment
    nodes: frozenset[str]
    found: tuple[Mapping[str, str], ...]
    strict: bool = False
    probe: Probe | None = None

    @classmethod
    def of(
        cls,
        environment: Environment,
        nodes: Mapping[str, Hardware],
        *,
        strict: bool = False,
        probe: Probe | None = None,
    ) -> Self:
        """Return the survey of nodes by id."""
        found = tuple(environment.on(nodes.values()))
        return cls(environment=environment, nodes=frozenset(nodes), found=found, strict=strict, probe=probe)

    @property
    def recorded(self) -> dict[str, str]:
        """The environment to record; values that differ between nodes stand beside each other."""
        return joined(self.found)

    @property
    def mixture(self) -> str:
        """The entries that differ between nodes, in words; empty if none does."""
        return mixture(self.found)

    def compare(self, output: Output) -> None:
        """Compare the node that this worker is on, if it joined after the survey; record another environment.

        Raises:
            ConflictError: If its environment is another one and the survey is strict.
        """
        if HERE in self.nodes or this_node() in self.nodes:
            return
        for own in self.environment.on([self._own_hardware()]):
            if own in self.found:
                continue
            if self.strict:
                raise ConflictError(
                    f"a node that joined has another environment ({differences(self.recorded, own)})",
                    stage=output.plan.stage,
                    remedy=_ONE_KIND,
                )
            Environments(store=output.store, folder=output.folder).enter(own, dict)

    def _own_hardware(self) -> Hardware:
        from infra.compute.probe import probe

        return self.probe() if self.probe else probe(gpus=self.environment.device == "cuda")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, without a stand-in for the probe."""
        found = [dict(one) for one in self.found]
        return {
            "environment": self.environment.as_json(),
            "nodes": sorted(self.nodes),
            "found": found,
            "strict": self.strict,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the survey that `as_json` wrote."""
        return cls(
            environment=Environment.from_json(values["environment"]),
            nodes=frozenset(values["nodes"]),
            found=tuple(values["found"]),
            strict=values["strict"],
        )


def take_survey(
    environment: Environment, cluster: Cluster, stage: str, *, strict: bool, on_wait: Callable[[str], None]
) -> Survey:
    """Return the environments of the nodes that may do some work; wait for a node if an autoscaler may bring one.

    Args:
        environment: The parts that count, and the workers.
        cluster: The place of their work.
        stage: For error lines.
        strict: Refuse nodes that differ, also those that join later.
        on_wait: Receives a line about a wait.

    Raises:
        ConflictError: If nodes differ and `strict` is set.
        ResourceError: If no node can hold a worker.
    """
    if environment.workers is None:
        return Survey.of(environment, here())
    nodes = cluster.nodes.hold(environment.workers, stage=stage, on_wait=on_wait)
    survey = Survey.of(environment, nodes, strict=strict, probe=cluster.probe)
    if survey.mixture and strict:
        cause = f"the nodes that can hold a worker differ ({survey.mixture})"
        raise ConflictError(cause, stage=stage, remedy=_ONE_KIND)
    return survey


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The start of a run's work on an output.

    Attributes:
        is_new: Whether this run began the output.
        survey: Of the nodes that may do the work.
        environments: The number of environments that were recorded by then.
    """

    is_new: bool
    survey: Survey
    environments: int


def joined_later(output: Output, begun: Begun, manifest: Manifest) -> list[str]:
    """Return how each environment that workers recorded since the beginning differs, in words.

    Args:
        output: The output.
        begun: Its beginning.
        manifest: Its seal.
    """
    if FACT not in manifest.facts:
        return []
    periods = Environments(store=output.store, folder=output.folder).periods()[begun.environments :]
    return [differences(begun.survey.recorded, period.environment) for period in periods]


@dataclass(frozen=True, kw_only=True)
class SurveyedTask:
    """A task in units whose workers compare their nodes with a survey before they begin.

    Attributes:
        task: The task.
        survey: The survey.
        output: The output that the units belong to.
    """

    task: UnitTask
    survey: Survey
    output: Output

    def open(self) -> Callable[[int], None]:
        """Compare, open the task, and return its function."""
        self.survey.compare(self.output)
        return self.task.open()
