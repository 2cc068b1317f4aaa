"""A copy to the device is queued from pinned memory; on the host nothing is copied."""

import torch

from infra.compute.transfer import to_device
from tests.standin.device import DEVICE, stand_in

HERE = torch.arange(6.0)


def test_a_tensor_that_is_there_stays_as_it_is() -> None:
    there = torch.zeros(6, device=DEVICE)
    assert to_device(there, DEVICE) is there
    assert to_device(HERE, torch.device("cpu")) is HERE


def test_a_tensor_of_the_host_is_pinned_first_and_not_waited_for() -> None:
    with stand_in(with_host=True) as watch:
        assert to_device(HERE, DEVICE).device == DEVICE
    assert len(watch.pinned) == 1
