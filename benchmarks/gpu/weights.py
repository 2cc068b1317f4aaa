"""The seconds that drawing the initial weights takes, on the host as the product does it and on the device."""

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.timing import seconds_once
from ddpm_core.network.unet import UNet


def weights(bench: Bench) -> None:
    """Both sides once, and whether they draw the same bits."""
    setting = bench.setting
    drawn: list[UNet] = []

    def draw(device: torch.device) -> None:
        with device:
            drawn.append(UNet(setting.config, seed=0))

    if setting.cuda:
        draw(setting.device)  # the kernels load
        drawn.clear()
        bench.row("on the device", seconds=seconds_once(setting, lambda: draw(setting.device)))
    bench.row("on the host", seconds=seconds_once(setting, lambda: draw(torch.device("cpu"))))
    if setting.cuda:
        pairs = zip(drawn[0].parameters(), drawn[1].parameters(), strict=True)
        bench.row("the two", bit_equal=all(torch.equal(a.cpu(), b) for a, b in pairs))
