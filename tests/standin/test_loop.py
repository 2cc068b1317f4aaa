"""The agreement of a group's workers after each step crosses between hosts, not between GPUs."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from flows.stages.train.loop import TrainingLoop
from tests.standin.device import DEVICE, RefusedError, stand_in

HOSTS = object()
LOOP = SimpleNamespace(world_size=2, hosts=HOSTS)


def test_agreeing_waits_for_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[object] = []

    def all_reduce(flags: torch.Tensor, op: object, group: object) -> None:
        groups.append(group)
        flags.fill_(op is dist.ReduceOp.MAX)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    with stand_in(with_host=True):
        assert TrainingLoop._agree(LOOP, [True, False]) == [True, True], "the other rank wishes both"
    assert groups == [HOSTS]


def test_a_flag_on_the_device_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda values, dtype: usual(values, dtype=dtype).to(DEVICE))
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: None)
    with stand_in(with_host=True), pytest.raises(RefusedError, match=r"flows/stages/train/loop.py:\d+ .*waits"):
        TrainingLoop._agree(LOOP, [True, False])
