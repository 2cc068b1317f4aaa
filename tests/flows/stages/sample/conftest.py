"""The tiny run's sampling, drawn in any order of its units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from flows.artifacts import Samples
from flows.stages.sample.config import SampleConfig
from flows.stages.sample.sampling import sample
from infra.compute.cluster import Cluster
from tests.conftest import TinyRun


@dataclass
class Arranged(Cluster):
    """Runs units in this process in another order, and remembers which."""

    order: Callable[[Sequence[int]], Sequence[int]] = tuple
    ran: tuple[int, ...] = ()

    def run_units(self, task: object, units: Sequence[int], **more: object) -> None:
        self.ran = tuple(self.order(units))
        super().run_units(task, self.ran, **more)


@pytest.fixture
def config(tiny_run: TinyRun) -> SampleConfig:
    return tiny_run.config.sample.model_copy(update={"count": 20, "seed": 5})


@pytest.fixture
def draw(tiny_run: TinyRun) -> Callable[..., Samples]:
    def call(config: SampleConfig, order: Callable[[Sequence[int]], Sequence[int]] = tuple, **more: object) -> Samples:
        call.cluster = Arranged(mode="in-process", order=order)
        return sample(config, tiny_run.snapshot, replace(tiny_run.context, cluster=call.cluster, **more))

    return call
