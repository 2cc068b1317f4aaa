"""Mean and covariance of features in the `.npz` form that other programs write and read: the arrays `mu` and `sigma`.

pytorch-fid, clean-fid and the evaluator of ADM use these names. Ours add a JSON text that says where they come from,
which other programs pass over.
"""

import json
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.errors import InputError

_MEAN, _COVARIANCE, _ABOUT = "mu", "sigma", "ddpm"
# A covariance of 8,192 dimensions in float64.
_MAX_BYTES = 1 << 29
# The number of images if a file does not state it: the fewest that have a covariance.
_FEWEST = 2
# Above it float64 does not count in steps of one.
_MOST = 1 << 53
_FORM = "it needs the arrays mu [d] and sigma [d, d], as pytorch-fid writes them"


@dataclass(frozen=True, kw_only=True, eq=False)
class StatisticsFile:
    """The statistics of the features of a set of images.

    Attributes:
        mean: Float64 [d].
        covariance: Float64 [d, d], unbiased.
        about: Their origin; empty if another program wrote them. Ours have `count`, the number of images, and
            `extractor`, `weights` and `images`, which name the extractor and the digests of its weights and of the
            images.
    """

    mean: Tensor
    covariance: Tensor
    about: dict[str, Any] = field(default_factory=dict)


def is_statistics_file(file: BinaryIO) -> bool:
    """Tell whether an open file is an archive with a mean and a covariance; only its list of members is read."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {f"{_MEAN}.npy", f"{_COVARIANCE}.npy"} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def encode_statistics(statistics: StatisticsFile) -> bytes:
    """Return the bytes of a file; equal statistics give equal bytes."""
    file = BytesIO()
    arrays: dict[str, Any] = {
        _MEAN: statistics.mean.cpu().numpy(),
        _COVARIANCE: statistics.covariance.cpu().numpy(),
        _ABOUT: np.array(json.dumps(statistics.about, sort_keys=True)),
    }
    np.savez(file, **arrays)
    return file.getvalue()


def decode_statistics(data: bytes, item: str) -> StatisticsFile:
    """Read a file of ours or of another program; nothing in it is unpickled.

    Args:
        data: The file.
        item: Its name in an error.

    Raises:
        InputError: If it lacks one of the arrays, or they are no mean and covariance of finite numbers, or the sums
            over as many images as it states are not finite.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if any(member.file_size > _MAX_BYTES for member in archive.infolist()):
                raise InputError(f"holds an array of more than {_MAX_BYTES >> 20} MiB", item=item)
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[name], dtype=np.float64) for name in (_MEAN, _COVARIANCE))
            about = json.loads(str(arrays[_ABOUT])) if _ABOUT in arrays else {}
    except (KeyError, ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError("holds no statistics of features", item=item, remedy=_FORM) from error
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        raise InputError(f"has mu of shape {mean.shape} and sigma of {covariance.shape}", item=item, remedy=_FORM)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise InputError("has values that are not finite", item=item)
    scale = float(np.abs(covariance).max())
    if float(np.abs(covariance - covariance.T).max()) > 1e-6 * scale or float(np.diag(covariance).min()) < 0:
        raise InputError("has a sigma that is no covariance: it must be symmetric with a diagonal >= 0", item=item)
    if not isinstance(about, dict):
        raise InputError("has an origin that is no table", item=item)
    _check_sums(mean, covariance, about.get("count"), item)
    return StatisticsFile(mean=torch.from_numpy(mean), covariance=torch.from_numpy(covariance), about=about)


def _check_sums(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: object, item: str) -> None:
    """Refuse a mean or a covariance from which sums of squares over all images cannot be computed in float64."""
    images = count if isinstance(count, int) and count > _FEWEST else _FEWEST
    if images > _MOST:
        raise InputError(f"says that it is of more than {_MOST} images", item=item)
    with np.errstate(over="ignore"):
        squares = images * (mean @ mean + np.abs(covariance).sum())
    if not np.isfinite(squares):
        cause = f"has values so large that their squares, summed over {images:,} images, are not finite in float64"
        raise InputError(cause, item=item)
