"""The layers of the Inception network of 2015 as a table, each with its names in both files of weights.

The network is Inception v3 (Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision") as it is
in the TensorFlow graph `inception-2015-12-05`, whose layer pool_3 gives the features of FID (Heusel et al. 2017). It
differs from torchvision's: average pools leave the padding out of the count, the last block has a max pool in the place
of an average pool, and the output has 1008 classes, of which the features need none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

FEATURE_DIM = 2048
# The layer whose first channels are the features of sFID: those of the 1x1 convolution of its block.
SPATIAL_LAYER = "Mixed_6d"
SPATIAL_CHANNELS = 7
SIDE = 299
CLASSES = 1008


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution without bias, then batch norm, then ReLU.

    Attributes:
        name: Its name within its block in the file of pytorch-fid.
        scope: Its name within its block in NVIDIA's file; TensorFlow's scope.
        channels: Of the output.
        kernel: Height and width.
        stride: Of both axes.
        padding: Zeros at each end of the height and of the width.
    """

    name: str
    scope: str
    channels: int
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]


class Pool(Enum):
    """A pool of 3x3 pixels."""

    AVERAGE = auto()  # stride 1, over the pixels within the image
    LARGEST = auto()  # stride 1
    REDUCE = auto()  # the largest, stride 2, no padding


@dataclass(frozen=True)
class Fork:
    """Branches that start from the same input; their outputs are concatenated along the channels.

    Attributes:
        branches: Each a chain of steps.
    """

    branches: tuple[tuple["Step", ...], ...]


Step = Conv | Pool | Fork


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A step of the network's trunk.

    Attributes:
        name: The beginning of its parameters' names in the file of pytorch-fid.
        scope: The same in NVIDIA's file.
        step: The step.
    """

    name: str
    scope: str
    step: Step


@dataclass(frozen=True, kw_only=True)
class NamedConv:
    """A convolution with its whole names.

    Attributes:
        name: In the file of pytorch-fid.
        scope: In NVIDIA's file.
        inputs: Channels of the input.
        conv: The convolution.
    """

    name: str
    scope: str
    inputs: int
    conv: Conv


def _conv(name: str, scope: str, channels: int, height: int = 1, width: int = 0, *, reduce: bool = False) -> Conv:
    """A convolution that keeps the size of its input, or with `reduce` one of stride 2 without padding."""
    kernel = (height, width or height)
    padding = (0, 0) if reduce else (kernel[0] // 2, kernel[1] // 2)
    stride = 2 if reduce else 1
    return Conv(name=name, scope=scope, channels=channels, kernel=kernel, stride=stride, padding=padding)


def _trunk(name: str, scope: str, channels: int, side: int, *, stride: int = 1, padding: int = 0) -> Layer:
    conv = Conv(
        name="", scope="", channels=channels, kernel=(side, side), stride=stride, padding=(padding, padding)
    )  # fmt: skip
    return Layer(name=name, scope=scope, step=conv)


def _mixed_35(pooled: int) -> Fork:
    """A block at 35x35 pixels; `pooled` channels come from its pool."""
    return Fork(
        (
            (_conv("branch1x1", "conv", 64),),
            (_conv("branch5x5_1", "tower.conv", 48), _conv("branch5x5_2", "tower.conv_1", 64, 5)),
            (
                _conv("branch3x3dbl_1", "tower_1.conv", 64),
                _conv("branch3x3dbl_2", "tower_1.conv_1", 96, 3),
                _conv("branch3x3dbl_3", "tower_1.conv_2", 96, 3),
            ),
            (Pool.AVERAGE, _conv("branch_pool", "tower_2.conv", pooled)),
        )
    )


def _mixed_17(inner: int) -> Fork:
    """A block at 17x17 pixels, with `inner` channels within its long branches."""
    return Fork(
        (
            (_conv("branch1x1", "conv", 192),),
            (
                _conv("branch7x7_1", "tower.conv", inner),
                _conv("branch7x7_2", "tower.conv_1", inner, 1, 7),
                _conv("branch7x7_3", "tower.conv_2", 192, 7, 1),
            ),
            (
                _conv("branch7x7dbl_1", "tower_1.conv", inner),
                _conv("branch7x7dbl_2", "tower_1.conv_1", inner, 7, 1),
                _conv("branch7x7dbl_3", "tower_1.conv_2", inner, 1, 7),
                _conv("branch7x7dbl_4", "tower_1.conv_3", inner, 7, 1),
                _conv("branch7x7dbl_5", "tower_1.conv_4", 192, 1, 7),
            ),
            (Pool.AVERAGE, _conv("branch_pool", "tower_2.conv", 192)),
        )
    )


def _mixed_8(pool: Pool) -> Fork:
    """A block at 8x8 pixels, whose branches fork once more."""
    return Fork(
        (
            (_conv("branch1x1", "conv", 320),),
            (
                _conv("branch3x3_1", "tower_conv", 384),
                Fork(
                    (
                        (_conv("branch3x3_2a", "tower_mixed_conv", 384, 1, 3),),
                        (_conv("branch3x3_2b", "tower_mixed_conv_1", 384, 3, 1),),
                    )
                ),
            ),
            (
                _conv("branch3x3dbl_1", "tower_1_conv", 448),
                _conv("branch3x3dbl_2", "tower_1_conv_1", 384, 3),
                Fork(
                    (
                        (_conv("branch3x3dbl_3a", "tower_1_mixed_conv", 384, 1, 3),),
                        (_conv("branch3x3dbl_3b", "tower_1_mixed_conv_1", 384, 3, 1),),
                    )
                ),
            ),
            (pool, _conv("branch_pool", "tower_2_conv", 192)),
        )
    )


_TO_17 = Fork(
    (
        (_conv("branch3x3", "conv", 384, 3, reduce=True),),
        (
            _conv("branch3x3dbl_1", "tower.conv", 64),
            _conv("branch3x3dbl_2", "tower.conv_1", 96, 3),
            _conv("branch3x3dbl_3", "tower.conv_2", 96, 3, reduce=True),
        ),
        (Pool.REDUCE,),
    )
)
_TO_8 = Fork(
    (
        (_conv("branch3x3_1", "tower.conv", 192), _conv("branch3x3_2", "tower.conv_1", 320, 3, reduce=True)),
        (
            _conv("branch7x7x3_1", "tower_1.conv", 192),
            _conv("branch7x7x3_2", "tower_1.conv_1", 192, 1, 7),
            _conv("branch7x7x3_3", "tower_1.conv_2", 192, 7, 1),
            _conv("branch7x7x3_4", "tower_1.conv_3", 192, 3, reduce=True),
        ),
        (Pool.REDUCE,),
    )
)

# From the image, 299x299, to the map of 8x8 pixels whose mean is pool_3.
LAYERS = (
    _trunk("Conv2d_1a_3x3", "conv", 32, 3, stride=2),
    _trunk("Conv2d_2a_3x3", "conv_1", 32, 3),
    _trunk("Conv2d_2b_3x3", "conv_2", 64, 3, padding=1),
    Layer(name="pool_1", scope="pool0", step=Pool.REDUCE),
    _trunk("Conv2d_3b_1x1", "conv_3", 80, 1),
    _trunk("Conv2d_4a_3x3", "conv_4", 192, 3),
    Layer(name="pool_2", scope="pool1", step=Pool.REDUCE),
    Layer(name="Mixed_5b", scope="mixed", step=_mixed_35(32)),
    Layer(name="Mixed_5c", scope="mixed_1", step=_mixed_35(64)),
    Layer(name="Mixed_5d", scope="mixed_2", step=_mixed_35(64)),
    Layer(name="Mixed_6a", scope="mixed_3", step=_TO_17),
    Layer(name="Mixed_6b", scope="mixed_4", step=_mixed_17(128)),
    Layer(name="Mixed_6c", scope="mixed_5", step=_mixed_17(160)),
    Layer(name="Mixed_6d", scope="mixed_6", step=_mixed_17(160)),
    Layer(name="Mixed_6e", scope="mixed_7", step=_mixed_17(192)),
    Layer(name="Mixed_7a", scope="mixed_8", step=_TO_8),
    Layer(name="Mixed_7b", scope="mixed_9", step=_mixed_8(Pool.AVERAGE)),
    Layer(name="Mixed_7c", scope="mixed_10", step=_mixed_8(Pool.LARGEST)),
)


def convolutions() -> Iterator[NamedConv]:
    """Every convolution of the network with its names and its input's channels, 94 in all."""
    channels = 3
    for layer in LAYERS:
        found: list[NamedConv] = []
        channels = _outputs(layer.step, channels, layer, found)
        yield from found


def _outputs(step: Step, channels: int, layer: Layer, found: list[NamedConv]) -> int:
    """Return a step's channels, and add its convolutions to `found`."""
    if isinstance(step, Conv):
        name, scope = (".".join(filter(None, pair)) for pair in ((layer.name, step.name), (layer.scope, step.scope)))
        found.append(NamedConv(name=name, scope=f"layers.{scope}", inputs=channels, conv=step))
        return step.channels
    if isinstance(step, Pool):
        return channels
    total = 0
    for branch in step.branches:
        inner = channels
        for part in branch:
            inner = _outputs(part, inner, layer, found)
        total += inner
    return total
