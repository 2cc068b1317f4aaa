"""A PNG holds the pixels without loss and ends with the chunk by which a whole file is known."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from flows.exchange.png import END, encode_png


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_every_value_comes_back(channels: int, mode: str) -> None:
    image = np.arange(256 * channels, dtype=np.uint8).reshape(16, 16, channels)
    data = encode_png(image)
    assert data.endswith(END)
    with Image.open(BytesIO(data)) as picture:
        assert picture.mode == mode
        assert np.array_equal(np.asarray(picture).reshape(image.shape), image)
