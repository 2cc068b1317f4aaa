"""The user's choices about reading a source; every default leaves it to the rules."""

from dataclasses import dataclass

MAX_PIXELS = 64_000_000
# Ways to label images. A choice may also be column:NAME or key:NAME, which names the labels.
AUTO, NONE, FOLDER, FILE_NAME, METADATA = "auto", "none", "folder", "file_name", "metadata"
_COLUMN, _KEY = "column:", "key:"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The user's choices about reading a source. It is sent to the workers with the source.

    Attributes:
        max_pixels: The most pixels that an image may have; a larger one is bad.
        max_value: The value that becomes white in arrays and in grey images of over 8 bits; 0 for that of the type.
        image_key: The key or column of the images to take, or `*` for all of them; empty leaves it to the rules of
            `infra.sources.keys`.
        use_splits: Whether the splits that the source gives are taken.
        labels: Where classes come from: `auto`, `none`, `folder`, `file_name`, `metadata`, `column:NAME` or `key:NAME`.
        label_depth: Which folder below the split is the class, counted from 1; 0 for the whole path.
    """

    max_pixels: int = MAX_PIXELS
    image_key: str = ""
    max_value: float = 0.0
    use_splits: bool = True
    labels: str = AUTO
    label_depth: int = 1

    @property
    def own_labels(self) -> bool:
        """Whether labels count that the source gives without being asked for a column or key."""
        return self.labels == AUTO

    @property
    def metadata(self) -> bool:
        """Whether labels in metadata files count."""
        return self.labels in (AUTO, METADATA) or self.labels.startswith(_COLUMN)

    @property
    def sidecars(self) -> bool:
        """Whether labels count that lie beside the images of an archive, as 7.json beside 7.png."""
        return self.labels in (AUTO, METADATA) or self.labels.startswith(_KEY)

    @property
    def picked(self) -> str:
        """The column or key that holds the labels, by its name; empty if none is chosen."""
        prefix = next((prefix for prefix in (_COLUMN, _KEY) if self.labels.startswith(prefix)), "")
        return self.labels.removeprefix(prefix) if prefix else ""


BY_RULE = Reading()
