"""Outputs of a few tensors per unit: computed once, read whole or unit by unit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flows.metrics.tensor_units import read_columns, read_units, tensor_work
from flows.metrics.together import Work, seal_together
from flows.stage import Context
from infra.compute.units import Workers
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import sealed_features, subject


@dataclass
class Numbers:
    """Unit n is the numbers n and n + 1; from the failing one on it raises."""

    fails: int = 9

    def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
        if number >= self.fails:
            raise RuntimeError("the machine is gone")
        return {"numbers": torch.tensor([number, number + 1], device=device)}


@pytest.fixture
def work(
    tiny_run: TinyRun, make_context: Callable[..., Context], tmp_path: Path
) -> Callable[..., tuple[Work, Context]]:
    context = make_context(tmp_path)
    features = sealed_features(context, {"features": torch.zeros(3, 2)}, unit=3)

    def make(compute: Numbers, **settings: int) -> tuple[Work, Context]:
        made = tensor_work(
            subject(tiny_run, settings),
            compute,
            stage="kernel",
            format_version=1,
            label="x",
            rows=[2, 2, 2],
            inputs={"features": features},
        )
        return made, context

    return make


def test_units_are_read_in_their_order(work: Callable[..., tuple[Work, Context]]) -> None:
    made, context = work(Numbers())
    (sealed,) = seal_together([made], context, stage="evaluate", workers=lambda _: Workers())
    assert read_columns(sealed, context.store)["numbers"].tolist() == [0, 1, 1, 2, 2, 3]
    assert [unit["numbers"].tolist() for unit in read_units(sealed, context.store)] == [[0, 1], [1, 2], [2, 3]]


def test_an_interrupted_output_computes_what_is_missing_only(work: Callable[..., tuple[Work, Context]]) -> None:
    broken, context = work(Numbers(fails=2))
    with pytest.raises(Exception, match="the machine is gone"):
        seal_together([broken], context, stage="evaluate", workers=lambda _: Workers())
    seen: list[int] = []

    class Rest(Numbers):
        def __call__(self, number: int, device: torch.device) -> dict[str, Tensor]:
            seen.append(number)
            return super().__call__(number, device)

    made, _ = work(Rest())
    (sealed,) = seal_together([made], context, stage="evaluate", workers=lambda _: Workers())
    assert seen == [2]
    assert read_columns(sealed, context.store)["numbers"].tolist() == [0, 1, 1, 2, 2, 3]


def test_threads_enter_the_key_and_one_thread_does_not(work: Callable[..., tuple[Work, Context]]) -> None:
    (one, _), (two, _) = work(Numbers()), work(Numbers(), threads=2)
    assert one.plan.settings == {}
    assert two.plan.settings == {"threads": 2}
