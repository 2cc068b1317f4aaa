"""The size of the run, and the precisions that it measures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils import deterministic as deterministic_settings

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The arithmetic of matrix products and convolutions.

    Attributes:
        name: In the rows.
        autocast: dtype of autocast; float32 for none.
        tf32_products: TF32 in matrix products of float32.
        tf32_convolutions: The same in cuDNN's convolutions.
    """

    name: str
    autocast: torch.dtype = torch.float32
    tf32_products: bool = False
    tf32_convolutions: bool = False


FLOAT32 = Precision(name="float32")
# torch leaves cudnn.allow_tf32 on: whoever sets nothing has convolutions in TF32 and calls them float32.
AS_TORCH_SETS = Precision(name="float32, torch's flags", tf32_convolutions=True)
TF32 = Precision(name="TF32", tf32_products=True, tf32_convolutions=True)
BFLOAT16 = Precision(name="bfloat16", autocast=torch.bfloat16)
FLOAT16 = Precision(name="float16", autocast=torch.float16)


@contextmanager
def flags_kept() -> Iterator[None]:
    """Give torch's global flags back as they were."""
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    everywhere = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic_settings.fill_uninitialized_memory
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic
        torch.use_deterministic_algorithms(everywhere, warn_only=only_warn)
        deterministic_settings.fill_uninitialized_memory = fill


@contextmanager
def flags_of(precision: Precision) -> Iterator[None]:
    """Set the TF32 flags of a precision for a while."""
    with flags_kept():
        torch.backends.cuda.matmul.allow_tf32 = precision.tf32_products
        torch.backends.cudnn.allow_tf32 = precision.tf32_convolutions
        yield


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Sizes; `toy` shrinks them all to try the program itself."""

    device: torch.device
    toy: bool

    @property
    def cuda(self) -> bool:
        """True if the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def config(self) -> UNetConfig:
        """The network."""
        if not self.toy:
            return UNetConfig.cifar10()
        return UNetConfig(
            image_size=8,
            base_channels=8,
            channel_mults=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(4,),
            norm_groups=4,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one image."""
        return self.config.image_shape

    @property
    def train_batches(self) -> tuple[int, ...]:
        """Images per training step."""
        return (2,) if self.toy else (128, 512)

    @property
    def sample_batches(self) -> tuple[int, ...]:
        """Images per sampling chain."""
        return (2,) if self.toy else (64, 256, 1024, 2048)

    @property
    def bound_batches(self) -> tuple[int, ...]:
        """Images per call of the bound."""
        return (2,) if self.toy else (32, 128, 512)

    @property
    def dataset_size(self) -> int:
        """Training images in the host's memory."""
        return 64 if self.toy else 50_000

    def network(self) -> UNet:
        """A network on the device, channels last as the product keeps it.

        The weights are torch's own draw: Ho's take a minute on a processor, and leave most branches at almost 0, where
        they would hide their errors.
        """
        torch.manual_seed(0)
        with self.device:
            network = UNet(self.config, seed=None)
        return network.to(memory_format=torch.channels_last)
