"""A PNG without its metadata: other bytes, and what belongs to pixels, stay."""

from infra.sources.png_chunks import without_metadata
from tests.pictures import encoded, picture


def test_only_chunks_of_metadata_are_dropped() -> None:
    plain = encoded(picture().convert("P"), transparency=3)
    assert without_metadata(plain) == plain
    assert without_metadata(encoded(picture().convert("P"), transparency=3, dpi=(72, 72))) == plain
    for kind in (b"tRNS", b"PLTE"):
        damaged = plain.replace(kind, bytes([kind[0] ^ 0x20]) + kind[1:])
        assert without_metadata(damaged) == damaged, "a kind that nobody knows may be a damaged one of the pixels"
    for data in (b"", b"x", encoded(picture(), "JPEG"), plain[:40], plain + b"rest"):
        assert without_metadata(data) == data
