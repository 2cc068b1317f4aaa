"""The watcher that watches nothing."""

import torch

from flows.stages.train.watch.watcher import Unwatched, Watcher


def test_it_does_nothing_and_says_nothing() -> None:
    watcher: Watcher = Unwatched()
    watcher.point(1, {"w": torch.zeros(1)})
    watcher.turn()
    watcher.finish(lambda: False)
    assert watcher.lines() == ()
