"""A selection gives the sealed pixels in order, no more than were asked for and no fewer."""

from pathlib import Path

import numpy as np
import pytest

from flows.exchange.choices import Channels, ExportFormat, ExportSplit, default_channels
from infra.errors import IntegrityError
from infra.outputs import images as sealed_format
from infra.outputs.images import Images
from tests.flows.exchange.sealed_images import sealed, selected


def pixels(images: Images) -> Images:
    """[n, c, h, w] as [n, h, w, c], by another way than the selection's."""
    return np.stack([np.moveaxis(image, 0, -1) for image in images])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("limit", [None, 1, 5, 7, 13, 99])
@pytest.mark.parametrize("group_bytes", [1 << 20, 150])
def test_the_images_in_order(
    channels: int, limit: int | None, group_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_format, "_ROW_GROUP_BYTES", group_bytes)  # many row groups per file, or one
    images, reader = sealed(tmp_path, channels)
    selection = selected(reader, limit=limit)
    batches = list(selection.batches())
    expected = pixels(images)[:limit]
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), expected)
    assert np.concatenate([batch.labels for batch in batches]).tolist() == [i % 3 for i in range(len(expected))]
    assert [batch.first for batch in batches] == np.cumsum([0, *(len(b.labels) for b in batches)])[:-1].tolist()
    assert all(batch.images.flags.c_contiguous for batch in batches)
    assert (selection.count, selection.shape) == (len(expected), (8, 8, channels))


def test_rows_beyond_those_that_count_are_left_out_of_every_file(tmp_path: Path) -> None:
    _, reader = sealed(tmp_path, rows=((5, 2), (5, 5)))
    assert [batch.labels.tolist() for batch in selected(reader).batches()] == [[0, 1], [2, 0, 1, 2, 0]]


def test_grey_in_three_channels(tmp_path: Path) -> None:
    images, reader = sealed(tmp_path)
    (first, *_) = selected(reader, channels=Channels.RGB).batches()
    assert first.images.shape == (5, 8, 8, 3)
    assert all(np.array_equal(first.images[..., channel], images[:5, 0]) for channel in range(3))
    colour, reader = sealed(tmp_path, 3)
    (first, *_) = selected(reader, channels=Channels.RGB).batches()
    assert np.array_equal(first.images, pixels(colour[:5]))


def test_opacity_lies_over_white_in_three_channels(tmp_path: Path) -> None:
    images, reader = sealed(tmp_path, 4)
    as_is, over = (
        np.concatenate([batch.images for batch in selected(reader, channels=channels).batches()])
        for channels in (Channels.AS_IS, Channels.RGB)
    )
    assert np.array_equal(as_is, pixels(images))
    share = as_is[..., 3:] / 255
    assert over.shape[-1] == 3
    assert np.abs(over - (as_is[..., :3] * share + 255 * (1 - share))).max() <= 0.5 + 1e-9


def test_the_identity_tells_pixels_apart_and_nothing_else(tmp_path: Path) -> None:
    _, grey = sealed(tmp_path)
    _, colour = sealed(tmp_path, 3)
    same = [selected(grey), selected(grey, limit=13), selected(grey, limit=99)]
    assert all(one.identity == same[0].identity for one in same)
    others = [selected(grey, limit=12), selected(grey, channels=Channels.RGB), selected(colour)]
    assert all(other.identity != same[0].identity for other in others)
    assert selected(colour).identity == selected(colour, channels=Channels.RGB).identity


def test_labels_are_known_before_the_first_batch(tmp_path: Path) -> None:
    assert selected(sealed(tmp_path)[1]).labelled
    assert not selected(sealed(tmp_path, labelled=False)[1]).labelled


def test_names_sort_like_numbers(tmp_path: Path) -> None:
    selection = selected(sealed(tmp_path)[1])
    assert selection.name(12) == "000012"
    selection.__dict__["count"] = 1_000_001
    names = [selection.name(number) for number in (0, 9, 999_999, 1_000_000)]
    assert names == sorted(names)
    assert len({len(name) for name in names}) == 1


def test_images_that_are_missing_are_an_error(tmp_path: Path) -> None:
    _, reader = sealed(tmp_path)
    with pytest.raises(IntegrityError, match="holds 0 of 0 images of split 'train'"):
        list(selected(reader, split=ExportSplit.TRAIN).batches())
    (unit, *_) = reader.manifest.units
    (tmp_path / reader.manifest.folder / unit["file"]).write_bytes(b"")
    with pytest.raises(IntegrityError, match="differs from its digest"):
        list(selected(reader).batches())


def test_the_evaluator_reads_three_channels_and_png_readers_any() -> None:
    rgb = {to for to in ExportFormat if default_channels(to) is Channels.RGB}
    assert rgb == {ExportFormat.NPZ}
