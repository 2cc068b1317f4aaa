"""The user's own program as an extractor: a TorchScript archive, or an exported program of torch.

Here alone code from a file runs, and its digest must be stated before: no such file is published, so `WeightsFile`
lets none through without it. Until an image is to be measured, the file is bytes; they are sealed as one tensor.
"""

import warnings
import zipfile
from collections.abc import Callable
from enum import Enum, auto
from io import BytesIO
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from infra.compute.device import exact_float32
from infra.errors import InputError
from infra.features.extractor import Extractor, ExtractorKind, only_features
from infra.features.weights_file import WeightsFile

# Images that the program is given at a time; the last time there may be fewer.
BATCH = 16
REMEDY = "take a TorchScript archive (torch.jit.save) or an exported program (torch.export.save)"
_BYTES = "program"
_ITEM = "the program"
_REMEDY = "it must turn uint8 images [n, 3, h, w], n from 1 to 16, into finite floating-point features [n, d]"


class Program:
    """A loaded program.

    Args:
        data: The file.
        device: To compute on.

    Raises:
        InputError: If torch cannot load it.
    """

    def __init__(self, data: bytes, device: torch.device) -> None:
        self._device = device
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
                self._run = _load(data, device)
        except Exception as error:
            raise InputError(f"cannot be loaded ({_cause(error)})", item=_ITEM, remedy=REMEDY) from error

    def __call__(self, images: Tensor) -> Tensor:
        """Return the program's output for uint8 images [n, c, h, w], c 1 or 3, as float32 [n, d] on its device.

        One channel is repeated to three. Products of float32 are exact on a GPU, unless the program says otherwise.

        Raises:
            InputError: If the program fails, or gives anything but finite features [n, d].
        """
        with torch.no_grad(), exact_float32():
            parts = [self._features(part.to(self._device)) for part in images.split(BATCH)]
        if len({part.shape[1] for part in parts}) > 1:
            raise InputError("gives features of several widths", item=_ITEM, remedy=_REMEDY)
        return torch.cat(parts)

    def _features(self, images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1).contiguous()
        try:
            found = self._run(images)
        except Exception as error:
            cause = f"fails on images of shape {list(images.shape)} ({_cause(error)})"
            raise InputError(cause, item=_ITEM, remedy=_REMEDY) from error
        if not isinstance(found, Tensor):
            raise InputError(f"gives a {type(found).__name__}, not one tensor", item=_ITEM, remedy=_REMEDY)
        if not found.is_floating_point() or found.ndim != 2 or len(found) != len(images) or not found.shape[1]:
            cause = f"gives {found.dtype} of shape {list(found.shape)} for {len(images)} images"
            raise InputError(cause, item=_ITEM, remedy=_REMEDY)
        if not found.isfinite().all():
            raise InputError("gives numbers that are not finite", item=_ITEM, remedy=_REMEDY)
        return found.to(torch.float32)


def read_program(data: bytes, item: str) -> dict[str, Tensor]:
    """Return the file's bytes as one tensor; nothing of it is loaded.

    Args:
        data: The file.
        item: Its name in an error.

    Raises:
        InputError: If it is neither a TorchScript archive nor an exported program.
    """
    if _form_of(data) is None:
        raise InputError("is neither a TorchScript archive nor an exported program", item=item, remedy=REMEDY)
    return {_BYTES: torch.frombuffer(bytearray(data), dtype=torch.uint8)}


class _Form(Enum):
    """The two forms in which torch writes programs; both are zips."""

    TORCHSCRIPT = auto()
    EXPORTED = auto()


def _form_of(data: bytes) -> _Form | None:
    """Return the form of a program by the names in its zip; None if it has neither."""
    try:
        names = [name.partition("/")[2] for name in zipfile.ZipFile(BytesIO(data)).namelist()]
    except zipfile.BadZipFile:
        return None
    if "archive_format" in names:
        return _Form.EXPORTED
    return _Form.TORCHSCRIPT if "constants.pkl" in names and any(name.startswith("code/") for name in names) else None


def _load(data: bytes, device: torch.device) -> Callable[[Tensor], Any]:
    if _form_of(data) == _Form.TORCHSCRIPT:
        loaded: Callable[[Tensor], Any] = torch.jit.load(BytesIO(data), map_location=device).eval()
        return loaded
    program = torch.export.load(BytesIO(data))
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    module: Callable[[Tensor], Any] = program.module()
    return module


def _cause(error: Exception) -> str:
    """Return the last line of an error that says something; torch puts the cause behind the call stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^~-")]
    return (lines[-1] if lines else type(error).__name__)[:160]


def _open(weights: dict[str, Tensor], _shape: dict[str, Any]) -> Extractor:
    data = weights[_BYTES]
    return only_features(Program(data.cpu().numpy().tobytes(), data.device))


PROGRAM = ExtractorKind(
    open=_open,
    file=WeightsFile(published={}, read=read_program, remedy=REMEDY),
    is_tried=True,
    rule="one channel repeated to 3; uint8 pixels of the images' own size; the rest is the program's own",
)
