"""The splits that tables such as list_eval_partition.txt give to images by name."""

from infra.errors import InputError, Term
from infra.sources.formats.tables import table_kind, table_splits
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.source import Metadata


class Partition:
    """The splits in all such tables of a source; rows name images as those of `MetadataLabels` do."""

    def __init__(self) -> None:
        self._rows = MetadataLabels("", table_splits)

    @property
    def exists(self) -> bool:
        """Whether there is a table."""
        return bool(self._rows.files)

    @property
    def is_used(self) -> bool:
        """Whether a row names an image; all names must have been tried."""
        return self.exists and self._rows.spelling is not None

    @property
    def tables(self) -> str:
        """The tables, in words for the user."""
        return " and ".join(self._rows.files[:3])

    @property
    def note(self) -> str:
        """The number of rows that name no image, for the user; all images must have been looked up."""
        return self._rows.unnamed if self.exists else ""

    def add(self, file: Metadata) -> bool:
        """Add the rows of a table; return whether it gives splits."""
        kind = table_kind(file.name)
        return kind is not None and kind.splits and self._rows.add(file)

    def check(self) -> None:
        """Refuse tables that cannot be read.

        Raises:
            InputError: If one cannot be read, or there are too many rows.
        """
        self._rows.check()

    def sort(self) -> None:
        """Make all rows ready to be looked up.

        Raises:
            InputError: If two rows put one image into different splits.
        """
        self._rows.sort()
        if self._rows.trouble:
            remedy = f"repair it, or {Term.TAKE_NO_SPLITS}"
            raise InputError("puts an image into two splits", item=" and ".join(self._rows.files), remedy=remedy)

    def try_name(self, name: str) -> None:
        """Count in which spellings a row names the image of this name."""
        self._rows.try_name(name)

    def split(self, name: str) -> str | None:
        """Return train, val or test: empty if no row names the image, None if no table is around it."""
        return self._rows.label(name)
