"""Bytes and arrays to images: frames, warnings that leave the pixels whole, damage that does not, and the limits."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import DAMAGED_METADATA, SEVERAL_FRAMES, decode, decoding, from_array
from infra.sources.fit import fit
from infra.sources.image_formats import DECODERS
from infra.sources.reading import Reading
from infra.sources.shape import Shape
from tests.pictures import encoded, picture

SMALL = Shape(height=8, width=8, channels=3)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def sloppy(data: bytes) -> bytes:
    """A JPEG with EXIF data that names a directory beyond its end."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + struct.pack("<HHLL", 0x0112, 3, 1, 1)
    exif = b"Exif\0\0" + tiff + struct.pack("<HHLL", 0x8769, 4, 9000, 26)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def deep_png() -> bytes:
    """A PNG of 2x1 pixels with 16 bits per colour."""
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(13))) + chunk(b"IEND", b"")
    )


class TestWarnings:
    def test_they_are_counted_by_kind_and_the_pixels_are_whole(self) -> None:
        plain = encoded(picture(), "JPEG")
        with decoding() as warned:
            good = fit(decode(plain, "x"), SMALL, "x")
            assert warned.kinds() == ()
            assert np.array_equal(fit(decode(sloppy(plain), "x"), SMALL, "x"), good)
            assert warned.kinds() == (DAMAGED_METADATA,)
            assert warned.kinds() == (), "each is said once"

    def test_numbers_make_no_kinds_of_their_own(self) -> None:
        with decoding() as warned:
            for number in range(3):
                warnings.warn(f"strange pixel {number} of {7 * number}", stacklevel=1)
            assert warned.kinds() == ("strange pixel N of N",)

    @pytest.mark.parametrize("decoder", ["PNG", "GIF", "TIFF", "WEBP", "AVIF", "MPO"])
    def test_of_several_frames_the_first_is_taken_and_said(self, decoder: str) -> None:
        first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
        with decoding() as warned:
            alone = decode(encoded(first, "JPEG" if decoder == "MPO" else decoder), "x")
            assert warned.kinds() == ()
            both = decode(encoded(first, decoder, save_all=True, append_images=[second]), "x")
            assert warned.kinds() == (SEVERAL_FRAMES,)
        for image in (alone, both):
            assert np.abs(fit(image, SMALL, "x").astype(int) - np.array([255, 0, 0])[:, None, None]).max() < 4

    def test_pillows_settings_come_back(self) -> None:
        limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
        with pytest.raises(KeyError), decoding():
            raise KeyError
        assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == (limit, filters)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def with_chunk(data: bytes, added: bytes, after: bytes = b"IHDR") -> bytes:
    """Put a chunk behind the first of a kind."""
    place = data.index(after)
    (length,) = struct.unpack_from(">I", data, place - 4)
    end = place + 8 + length
    return data[:end] + added + data[end:]


WORKFLOW = b"workflow\0\0" + zlib.compress(bytes(2 << 20))
CHUNKS = {
    "checksum": chunk(b"tEXt", b"Title\0x", 1),
    "long text": chunk(b"zTXt", WORKFLOW),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "checksum of EXIF": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", 1),
    "an unknown one": chunk(b"vpAg", b"x", 1),
}


class TestPngMetadata:
    @pytest.mark.parametrize("added", CHUNKS.values(), ids=CHUNKS)
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16"])
    def test_its_damage_is_counted_and_the_pixels_are_whole(self, added: bytes, mode: str) -> None:
        image = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999) if mode == "I;16" else picture()
        options = {"transparency": 3} if mode == "P" else {}
        plain = encoded(image if mode == "I;16" else image.convert(mode), "PNG", **options)
        with decoding() as warned:
            good, found = decode(plain, "x"), decode(with_chunk(plain, added), "x")
            assert warned.kinds() == (DAMAGED_METADATA,)
        assert (found.mode, found.info.get("transparency")) == (good.mode, good.info.get("transparency"))
        assert found.tobytes() == good.tobytes()
        assert np.array_equal(fit(found, SMALL, "x"), fit(good, SMALL, "x"))

    def test_an_image_stays_turned(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        plain = encoded(picture(0, (8, 16)), "PNG", exif=exif)
        with decoding():
            good, found = decode(plain, "x"), decode(with_chunk(plain, CHUNKS["checksum"]), "x")
        upright = fit(decode(encoded(picture(0, (8, 16))), "x"), SMALL, "x")
        assert np.array_equal(fit(found, SMALL, "x"), fit(good, SMALL, "x"))
        assert not np.array_equal(fit(found, SMALL, "x"), upright)

    def test_damage_of_the_pixels_is_none_of_metadata(self) -> None:
        plain = encoded(Image.fromarray(noise(64, 64, 3)))
        transparent = with_chunk(encoded(picture().convert("RGB")), chunk(b"tRNS", bytes(6), 1))
        text = with_chunk(plain, CHUNKS["checksum"])
        hidden = text.replace(b"IDAT", b"iDAT")
        with decoding() as warned:
            for data in (transparent, hidden, *(text[: len(text) * part // 20] for part in range(1, 20))):
                with pytest.raises(InputError):
                    decode(data, "x")
            with pytest.raises(InputError, match="64x64 pixels, over 9"):
                decode(text, "x", Reading(max_pixels=9))
            assert warned.kinds() == ()


class TestDamage:
    @pytest.mark.parametrize(
        ("decoder", "options"), [*((one, {}) for one in DECODERS), ("TIFF", {"compression": "tiff_lzw"})]
    )
    def test_pixels_that_are_missing_are_no_warning(self, decoder: str, options: dict[str, str]) -> None:
        data = encoded(Image.fromarray(noise(64, 64, 3)), decoder, **options)
        with decoding():
            for part in range(1, 20):
                with pytest.raises(InputError):
                    decode(data[: len(data) * part // 20], "x")

    def test_a_tiff_whose_own_directory_is_cut(self) -> None:
        """In a photo's EXIF data that is a warning; here it may leave out what the pixels mean."""
        data = encoded(Image.fromarray(noise(8, 8)), "TIFF")
        (start,) = struct.unpack("<L", data[4:8])
        (count,) = struct.unpack("<H", data[start : start + 2])
        directory = data[start : start + 2 + 12 * count + 4]
        moved = data[:4] + struct.pack("<L", len(data)) + data[8:] + directory
        with decoding():
            assert np.array_equal(np.asarray(decode(moved, "x")), noise(8, 8))
            for lost in (4 + 6, 4 + 12 + 6):
                with pytest.raises(InputError, match="cannot be decoded"):
                    decode(moved[:-lost], "x")


class TestLimit:
    def test_max_pixels_alone_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pillow warns beyond its own limit and raises beyond twice of it; here the image has four times as many."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        data = encoded(picture(0, (10, 8)))
        with decoding() as warned:
            image = decode(data, "x", Reading(max_pixels=80))
            assert fit(image, SMALL, "x").shape == (3, 8, 8)
            assert warned.kinds() == ()
            with pytest.raises(InputError, match=r"has 10x8 pixels, over 79 - raise .* to 80"):
                decode(data, "x", Reading(max_pixels=79))

    def test_a_bomb_is_refused_before_it_takes_memory(self) -> None:
        data = encoded(Image.new("1", (40_000, 40_000)))
        assert len(data) < 1 << 20
        with decoding(), pytest.raises(InputError, match="40000x40000 pixels, over 64000000"):
            decode(data, "x")


class TestWhite:
    """Grey images of more than 8 bits."""

    VALUES = np.array([[0, 1, 2047, 2048], [4094, 4095, 4096, 65535]], dtype=np.uint16)

    def expected(self, white: float) -> list[int]:
        return [min(round(value * 255 / white), 255) for value in self.VALUES.ravel().tolist()]

    @pytest.mark.parametrize("decoder", ["PNG", "TIFF"])
    @pytest.mark.parametrize("max_value", [0, 4095, 1023.5])
    def test_a_camera_of_twelve_bits(self, decoder: str, max_value: float) -> None:
        image = decode(encoded(Image.fromarray(self.VALUES), decoder), "x", Reading(max_value=max_value))
        assert image.mode == "L"
        assert np.asarray(image).ravel().tolist() == self.expected(max_value or 65535)

    def test_a_file_that_says_what_is_white_is_believed(self) -> None:
        data = b"P5\n4 2\n4095\n" + np.minimum(self.VALUES, 4095).astype(">u2").tobytes()
        for reading in (Reading(), Reading(max_value=1023)):
            found = np.asarray(decode(data, "x", reading)).ravel().tolist()
            assert np.abs(np.array(found) - self.expected(4095)).max() <= 1

    def test_eight_bits_stay(self) -> None:
        pixels = noise(8, 8)
        image = decode(encoded(Image.fromarray(pixels)), "x", Reading(max_value=4095))
        assert np.array_equal(np.asarray(image), pixels)

    def test_floats_need_it(self) -> None:
        floats = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
        data = encoded(Image.fromarray(floats), "TIFF")
        with pytest.raises(InputError, match="float32, which does not say what is white"):
            decode(data, "x")
        found = np.asarray(decode(data, "x", Reading(max_value=1)))
        assert np.array_equal(found, np.rint(floats.astype(float) * 255))

    def test_sixteen_bits_per_colour_cannot_have_another(self) -> None:
        values = np.random.default_rng(0).integers(0, 65536, (4, 4, 3)).astype(">u2")
        assert decode(b"P6\n4 4\n65535\n" + values.tobytes(), "x", Reading(max_value=4095)).mode == "RGB"
        assert decode(deep_png(), "x").mode == "RGB"
        with pytest.raises(InputError, match=r"16 bits per colour .* at 0"):
            decode(deep_png(), "x", Reading(max_value=4095))


class TestArrays:
    @pytest.mark.parametrize(
        ("shape", "mode"), [((5, 7), "L"), ((5, 7, 1), "L"), ((5, 7, 3), "RGB"), ((5, 7, 4), "RGBA")]
    )
    def test_pixels_as_an_image(self, shape: tuple[int, ...], mode: str) -> None:
        pixels = noise(*shape)
        image = from_array(pixels[::-1], "x")
        assert (image.mode, image.size) == (mode, (7, 5))
        assert np.array_equal(np.asarray(image).reshape(shape), pixels[::-1])

    @pytest.mark.parametrize("shape", [(5,), (5, 7, 2), (5, 7, 5), (1, 5, 7, 3), (0, 7), (5, 0, 3)])
    def test_what_is_no_image(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="has the shape") as caught:
            from_array(np.zeros(shape, dtype=np.uint8), "where")
        assert caught.value.item == "where"

    @pytest.mark.parametrize(
        ("kind", "max_value", "white"),
        [("bool", 0, 1), ("uint8", 0, 255), ("uint8", 1, 1), ("uint16", 0, 65535), ("uint16", 4095, 4095)]
        + [(kind, white, white) for kind in ("int64", ">u2", "float64") for white in (1, 255, 4095)],
    )
    def test_the_value_of_white(self, kind: str, max_value: float, white: float) -> None:
        pixels = np.linspace(0, white, 12).reshape(3, 4).astype(kind)
        found = np.asarray(from_array(pixels, "x", max_value))
        assert np.array_equal(found, np.rint(pixels.astype(float) * (255 / white)))
        assert (found.min(), found.max()) == (0, 255)

    @pytest.mark.parametrize("kind", ["int64", "float32", "uint32", "int8"])
    def test_a_type_that_does_not_say_it_is_refused(self, kind: str) -> None:
        with pytest.raises(InputError, match=f"{kind}, which does not say what is white - set"):
            from_array(np.zeros((3, 4), dtype=kind), "x")

    @pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
    def test_no_brightness(self, value: float) -> None:
        with pytest.raises(InputError, match="some are no brightness"):
            from_array(np.array([[0.0, value]]), "x", 1)
