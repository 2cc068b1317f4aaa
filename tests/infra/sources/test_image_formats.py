"""The table of formats: each is found by its suffix in any case, and opened by its content."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from infra.errors import InputError
from infra.sources.decode import decode
from infra.sources.files.file_set import FileSet
from infra.sources.image_formats import DECODERS, IMAGE_FORMATS, SIGNATURE_BYTES, SUFFIXES, begins_like_image
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.tar import TarSource
from infra.sources.source import Entry
from tests.infra.sources.formats.archives import END, member
from tests.pictures import encoded, picture

FAITHFUL: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}


def test_each_suffix_is_of_one_format_and_pillow_has_its_decoder() -> None:
    assert len(SUFFIXES) == sum(len(one.suffixes) for one in IMAGE_FORMATS)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    Image.init()
    assert set(DECODERS) <= set(Image.OPEN)
    assert features.check("avif")
    assert features.check("jpg_2000")


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_suffix_in_either_case_and_whatever_the_content(tmp_path: Path, decoder: str) -> None:
    """A file of this format under the suffixes of all formats: the content decides."""
    smooth = picture(0, (4, 3)).resize((32, 24))
    data = encoded(smooth, decoder, **FAITHFUL.get(decoder, {}))
    (tmp_path / "folder").mkdir()
    names = [change(f"a{number}{suffix}") for number, suffix in enumerate(SUFFIXES) for change in (str, str.upper)]
    for name in names:
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "a.tar").write_bytes(b"".join(member(name.encode(), data) for name in names) + END)
    for source in (FolderSource(FileSet((str(tmp_path / "folder"),))), TarSource(FileSet((str(tmp_path / "a.tar"),)))):
        entries = [entry for entry in source.find() if isinstance(entry, Entry)]
        assert len(entries) == 2 * len(SUFFIXES)
        (content,) = source.read(entries[:1])
        assert isinstance(content, bytes)
        image = source.decode(entries[0], content).convert("RGB")
        assert np.abs(np.asarray(image).astype(int) - np.asarray(smooth)).mean() < 12, "it is that image"


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_signature_of_every_format(decoder: str) -> None:
    assert begins_like_image(encoded(picture(0, (32, 32)), decoder)[:SIGNATURE_BYTES])


@pytest.mark.parametrize("start", [b"", b"1797", b"BMW", b"P6", b"RIFF1234WAVE", b"II", b"\x80\x04\x95", b"GIF"])
def test_what_is_no_signature(start: bytes) -> None:
    assert not begins_like_image(start)


def test_no_other_decoder_is_reached() -> None:
    """Pillow opens these; some of them by other programs, and some by guessing."""
    for other in ("TGA", "ICO", "PCX", "EPS", "SGI", "ICNS"):
        with pytest.raises(InputError, match="is no image of the formats PNG, JPEG"):
            decode(encoded(picture(0, (32, 32)), other), "x")
