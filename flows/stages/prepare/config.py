"""The settings of preparation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ddpm_core.choices import Choice
from flows.stage_config import StageConfig, choice, execution, outside_input
from infra.sources.reading import MAX_PIXELS, Reading

_LARGEST_FILE = 1 << 30
_LONGEST_PATH = 4096


class SourceKind(Choice):
    """The format of the source of images."""

    FOLDER = "folder", "Image files in folders: PNG, JPEG and WebP"
    TAR = "tar", "tar archives of image files, also webdataset shards with their labels"
    ZIP = "zip", "zip archives of image files"
    ARRAYS = "arrays", ".npy and .npz files of uint8 images, with or without labels"
    CIFAR = "cifar", "CIFAR-10 and CIFAR-100, binary or Python version, packed or unpacked"
    PARQUET = (
        "parquet",
        "Hugging Face image columns, encoded images in a binary column, sealed data sets of ddpm itself",
    )
    IDX = "idx", "Files in MNIST's format, gzipped or not"
    DIGITS = "digits", "The 1,797 digits that ship with scikit-learn"


class ResizeFilter(Choice):
    """The filter that resizes images, by its name in Pillow."""

    LANCZOS = "lanczos", "Sharpest"
    BICUBIC = "bicubic", "Sharp"
    BILINEAR = "bilinear", "Soft"
    BOX = "box", "The mean of each area"
    NEAREST = "nearest", "One pixel per area"
    NONE = "none", "No crop and no resize: an image of another size is bad"


class LabelOption(Choice):
    """A place from which classes come."""

    AUTO = "auto", "The first of the rules below that gives classes"
    NONE = "none", "No classes"
    FOLDER = "folder", "Names of folders, see label_depth"
    FILE_NAME = "file_name", "The word before the number in file names: cat_0001.png"
    METADATA = "metadata", "dataset.json, metadata.jsonl, metadata.csv or labels.csv, and .cls and .json files of tars"
    COLUMN = "column:NAME", "That column of a Parquet file, label array (from 0) or metadata file"
    KEY = "key:NAME", "That key of .npz files, or of .json files beside images"


class PrepareConfig(StageConfig):
    """Turns images into a sealed data set."""

    kind: SourceKind = choice(SourceKind.FOLDER, "The format of the source")
    source: list[str] | str = outside_input(
        "", "Folder, file or glob, local or s3://, or a list of these; empty for digits"
    )
    image_size: int = Field(
        32, ge=4, le=1024, description="Height and width in pixels, after the centre crop and the resize"
    )
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour")
    resize_filter: ResizeFilter = choice(ResizeFilter.LANCZOS, "The filter of the resize")
    min_side: int = Field(0, ge=0, le=1 << 16, description="Leave out images whose shorter side has fewer pixels")
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, le=1 << 32, description="The most pixels that an image may have; a larger one is bad"
    )
    drop_duplicates: bool = Field(False, description="Leave out images whose bytes occurred earlier in the source")
    on_bad_image: Literal["fail", "quarantine"] = Field(
        "fail", description="An image that cannot be decoded ends the run (fail) or is set aside (quarantine)"
    )
    max_bad_fraction: float = execution(0.01, "Largest share of images that may be in quarantine", ge=0, le=1)
    labels: str = Field(
        LabelOption.AUTO.value,
        pattern=r"^(auto|none|folder|file_name|metadata|(column|key):.{1,256})$",
        description="Where classes come from. " + "; ".join(f"{one}: {one.description}" for one in LabelOption),
    )
    label_depth: int = Field(
        1, ge=0, le=64, description="Which folder below the split is the class: 1 is the first; 0 for the whole path"
    )
    use_splits: bool = Field(True, description="Take the splits that the source gives; false takes none of them")
    holdout_fraction: float = Field(
        0.1, ge=0, lt=1, description="Share of images held out, by content hash, if no splits are taken from the source"
    )
    unit_images: int = Field(1024, ge=1, le=65536, description="Images per Parquet file; fewer if they exceed 1 GiB")

    @model_validator(mode="after")
    def _source_is_given(self) -> Self:
        if self.kind == SourceKind.DIGITS and self.source:
            raise ValueError(f"prepare.source must be empty for the digits; got {self.source!r}")
        if any(not text or len(text) > _LONGEST_PATH for text in self.sources):
            raise ValueError(f"prepare.source must be paths of 1 to {_LONGEST_PATH} characters")
        return self

    @property
    def images_a_file(self) -> int:
        """`unit_images`, or fewer if they would exceed a gibibyte."""
        return min(self.unit_images, _LARGEST_FILE // (self.image_size**2 * self.channels))

    @property
    def reading(self) -> Reading:
        """What these settings choose of how the source is read."""
        return Reading(max_pixels=self.max_pixels, labels=self.labels, label_depth=self.label_depth)

    @property
    def sources(self) -> tuple[str, ...]:
        """The paths of the source; empty if it is not set."""
        paths = [self.source] if isinstance(self.source, str) else self.source
        return () if paths == [""] else tuple(paths)
