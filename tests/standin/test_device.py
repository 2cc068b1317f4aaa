"""The stand-in device refuses what a GPU would refuse or wait for, and names the line."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.standin.device import DEVICE, RefusedError, stand_in

HERE = torch.ones(4, 3)
PLACES = torch.tensor([0, 2])


def there() -> Tensor:
    return torch.ones(4, 3, device=DEVICE)


WAITS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(torch.isfinite(x).all()),
    "float": lambda x: float(x.sum()),
    "an if": lambda x: 1 if x.any() else 0,
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "a copy into the host's": lambda x: HERE.copy_(x),
    "an array": lambda x: x.numpy(),
    "nonzero": lambda x: x.nonzero(),
    "where with one argument": lambda x: torch.where(x > 0),
    "a mask": lambda x: x[x > 0],
    "a mask that is written to": lambda x: x.__setitem__(x > 0, 0.0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "text": lambda x: f"{x.sum()}",
    "numbers": lambda _: torch.tensor([1.0, 2.0], device=DEVICE),
    "one number": lambda _: torch.tensor(1.0, device=DEVICE),
    "a list as an index": lambda x: x[[0, 2]],
    "a copy that waits": lambda _: HERE.to(DEVICE),
    "a copy from memory that is not pinned": lambda _: HERE.to(DEVICE, non_blocking=True),
}
WRONG_PLACES: dict[str, Callable[[Tensor], object]] = {
    "a new tensor": lambda _: torch.zeros(3),
    "a range": lambda _: torch.arange(3),
    "a sum": lambda x: x + HERE,
    "weights": lambda _: F.conv2d(torch.ones(1, 3, 8, 8, device=DEVICE), torch.ones(3, 3, 3, 3)),
    "a dense layer's weights": lambda x: F.linear(x, HERE),
    "an index": lambda x: x[PLACES],
    "an index of the device": lambda x: HERE[x[0].long()],
}


@pytest.mark.parametrize("is_inference", [False, True], ids=["", "inference"])
@pytest.mark.parametrize("call", [*WAITS.values(), *WRONG_PLACES.values()], ids=[*WAITS, *WRONG_PLACES])
def test_it_is_refused_with_its_line(call: Callable[[Tensor], object], is_inference: bool) -> None:
    x = there()
    expected = pytest.raises(RefusedError, match=re.escape("tests/standin/test_device.py:"))
    with stand_in(), expected, torch.inference_mode(is_inference):
        call(x)


def test_what_the_host_does_alone_is_its_own_affair_if_it_may() -> None:
    with stand_in(with_host=True) as watch:
        numbers = torch.arange(3) * 2
        moved = numbers.pin_memory().to(DEVICE, non_blocking=True)
        assert (numbers.tolist(), moved.device) == ([0, 2, 4], DEVICE)
    assert not watch.reads


def test_a_number_of_the_host_is_an_argument_and_no_copy() -> None:
    one = torch.tensor(1.0)
    with stand_in():
        assert (there() + one).device == DEVICE


def test_a_read_in_the_backward_pass_is_found() -> None:
    weight = there().requires_grad_()
    weight.register_hook(lambda gradient: float(gradient.sum()))
    total = (weight * 2).sum()
    with stand_in(), pytest.raises(RefusedError, match="reads values"):
        total.backward()


def test_torch_is_as_it_was() -> None:
    before = torch.autocast, Tensor.pin_memory
    with stand_in():
        assert torch.autocast is not before[0]
    assert (torch.autocast, Tensor.pin_memory) == before
