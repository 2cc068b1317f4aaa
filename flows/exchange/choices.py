"""The options of an export; without torch, so that the command line loads at once."""

from ddpm_core.choices import Choice


class ExportFormat(Choice):
    """The format of an export."""

    PNG = "png", "A flat folder of 000000.png, 000001.png, ... with the labels in metadata.csv"
    TAR = "tar", "One tar file of 000000.png, 000000.cls, ... as WebDataset names them"
    NPZ = "npz", "One NumPy file for guided-diffusion's evaluator: arr_0 uint8 [n, h, w, c], arr_1 int64 labels"
    DIFFUSERS = "diffusers", "The network, as a folder for diffusers with a model card"
    SNAPSHOT = "snapshot", "The network, as a snapshot file of ours"


# The formats that hold a network; the others hold images.
NETWORKS = frozenset({ExportFormat.DIFFUSERS, ExportFormat.SNAPSHOT})


class ExportSplit(Choice):
    """The images of a run."""

    SAMPLES = "samples", "The drawn images"
    TRAIN = "train", "The training split, as prepared"
    TEST = "test", "The held-out split, as prepared"


class Channels(Choice):
    """The channels of exported images."""

    AS_IS = "as-is", "Grey images stay grey"
    RGB = "rgb", "Grey images get three equal channels, images with opacity lie over white"


def default_channels(to: ExportFormat) -> Channels:
    """Return three channels for npz, because its reader accepts nothing else; otherwise the images' own."""
    return Channels.RGB if to is ExportFormat.NPZ else Channels.AS_IS
