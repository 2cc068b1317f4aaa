"""The pages of a Parquet column, held to the sizes that they claim before Arrow takes the memory for them.

The headers are parsed by hand because no library gives access to them: Arrow reads them itself, too late to refuse.
"""

from os import SEEK_CUR
from typing import BinaryIO

import pyarrow.parquet as pq

from infra.errors import InputError
from infra.sources.decode import REPAIR

# A dictionary stores a repeated image once, so rows may unpack to this many times the size of their column.
MAX_REPEAT = 64
_MAX_PAGE = 64 << 20


def check_pages(opened: BinaryIO, group: pq.RowGroupMetaData, leaf: str, path: str) -> int:
    """Walk the headers of the pages of a column, before Arrow takes the memory for them.

    Returns:
        The number of bytes that the pages unpack to.
    """
    chunks = [chunk for n in range(group.num_columns) if (chunk := group.column(n)).path_in_schema == leaf]
    if len(chunks) != 1:
        raise InputError(f"has {len(chunks)} columns {leaf}", item=path, remedy=REPAIR)
    offsets = (chunks[0].dictionary_page_offset if chunks[0].has_dictionary_page else 0, chunks[0].data_page_offset)
    place = min(offset for offset in offsets if offset > 0)
    end, total = place + chunks[0].total_compressed_size, 0
    while place < end:
        opened.seek(place)
        sizes = _page_sizes(opened)
        place = opened.tell()
        size, packed = sizes.get(2, -1), sizes.get(3, -1)
        if size < 0 or not 0 <= packed <= end - place:
            raise InputError("has a damaged page", item=path, remedy=REPAIR)
        if size > max(_MAX_PAGE, MAX_REPEAT * packed):
            raise InputError(f"has a page of {packed} bytes that unpacks to {size}", item=path, remedy=REPAIR)
        place += packed
        total += size
    return total


def _page_sizes(opened: BinaryIO, depth: int = 0) -> dict[int, int]:
    """The 32-bit fields of a struct in Thrift's compact protocol, by number; other fields are skipped."""
    found, number = {}, 0
    while head := opened.read(1)[0]:
        number = number + (head >> 4) if head >> 4 else _varint(opened) >> 1
        kind = head & 15
        if kind in (4, 5, 6):
            value = _varint(opened)
            # In zigzag coding odd values are negative, and no size is negative.
            found[number] = -1 if value & 1 or kind != 5 else value >> 1
        elif kind in (3, 7, 8):
            opened.seek(_varint(opened) if kind == 8 else 1 if kind == 3 else 8, SEEK_CUR)
        elif kind == 12 and depth < 4:
            _page_sizes(opened, depth + 1)
        elif kind not in (1, 2):
            raise ValueError("a page header is damaged")
    return found


def _varint(opened: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = opened.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("a page header is damaged")
