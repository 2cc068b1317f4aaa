"""The settings of preparation."""

from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from ddpm_core.choices import Choice
from ddpm_core.network.image_size import ImageSize, image_sides, image_size_of
from flows.stage_config import StageConfig, choice, execution, outside_input
from infra.sources.reading import MAX_PIXELS, Reading
from infra.sources.shape import Shape

_LARGEST_FILE = 1 << 30
_LONGEST_PATH = 4096


_LEAST_SIDE, _LARGEST_SIDE = 4, 1024
Side = Annotated[int, Field(ge=_LEAST_SIDE, le=_LARGEST_SIDE)]


class SourceKind(Choice):
    """The format of the source of images."""

    AUTO = "auto", "The kind that the first files are of, by content and name"
    FOLDER = "folder", "Image files in folders"
    TAR = "tar", "tar archives of image files, also webdataset shards with their labels"
    ZIP = "zip", "zip archives of image files"
    ARRAYS = "arrays", ".npy and .npz files of images, with or without labels"
    CIFAR = "cifar", "CIFAR-10 and CIFAR-100, binary or Python version, packed or unpacked"
    PARQUET = (
        "parquet",
        "Hugging Face image columns, encoded images in a binary column, sealed data sets of ddpm itself",
    )
    ARROW = "arrow", "Arrow files of images, such as folders of Hugging Face's save_to_disk"
    IDX = "idx", "Files in MNIST's format, gzipped or not"
    LMDB = "lmdb", "LMDB databases of encoded images, such as LSUN's"
    MAT = "mat", "MATLAB files of uint8 images, such as SVHN's"
    DIGITS = "digits", "The 1,797 digits that ship with scikit-learn"


class ResizeFilter(Choice):
    """The filter that resizes images, by its name in Pillow."""

    LANCZOS = "lanczos", "Sharpest"
    BICUBIC = "bicubic", "Sharp"
    BILINEAR = "bilinear", "Soft"
    BOX = "box", "The mean of each area"
    NEAREST = "nearest", "One pixel per area"
    NONE = "none", "No crop and no resize: an image of another size is bad, unless it is smaller and padded"


class Fit(Choice):
    """The ways in which an image of another aspect ratio takes the size."""

    CROP = "crop", "Cut out the largest centred part of that ratio, then resize it"
    PAD = "pad", "Resize the whole image to fit inside, on black; on transparent black with 4 channels"
    STRETCH = "stretch", "Resize the whole image, whatever its ratio"


class LabelOption(Choice):
    """A place from which classes come."""

    AUTO = "auto", "The first of the rules below that gives classes"
    NONE = "none", "No classes"
    FOLDER = "folder", "Names of folders, see label_depth"
    FILE_NAME = "file_name", "The word before the number in file names: cat_0001.png"
    METADATA = (
        "metadata",
        "dataset.json, metadata.jsonl, metadata.csv or labels.csv, tables such as train.csv, and .cls and .json files "
        "of tars",
    )
    COLUMN = "column:NAME", "That column of a Parquet, Arrow or metadata file, table, or rows of numbers (from 0)"
    KEY = "key:NAME", "That key of .npz files or of .json files beside images, or MATLAB variable"


class PrepareConfig(StageConfig):
    """Turns images into a sealed data set."""

    kind: SourceKind = choice(SourceKind.AUTO, "The format of the source")
    source: list[str] | str = outside_input(
        "", "Folder, file or glob, local, s3:// or hf://datasets/, or a list of these; empty for digits"
    )
    test_source: list[str] | str = outside_input(
        "",
        "Held-out images, in the form of prepare.source, which then holds training images alone; no splits are looked "
        "for in either",
    )
    image_size: Side | tuple[Side, Side] = Field(
        32, description="Height and width in pixels, 4 to 1024: [h, w], or one number for both"
    )
    channels: Literal[1, 3, 4] = Field(3, description="1 for grey, 3 for colour, 4 for colour and opacity")
    resize_filter: ResizeFilter = choice(ResizeFilter.LANCZOS, "The filter of the resize")
    fit: Fit = choice(Fit.CROP, "How images of another aspect ratio take the size")
    min_side: int = Field(0, ge=0, le=1 << 16, description="Leave out images whose shorter side has fewer pixels")
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, le=1 << 32, description="The most pixels that an image may have; a larger one is bad"
    )
    image_key: str = Field(
        "",
        max_length=256,
        description="The key or column of the images if samples hold several, such as image, left, or plain for images "
        "without a key; * for all of them; empty takes what is called like an image",
    )
    max_value: float = Field(
        0.0,
        ge=0,
        le=1 << 32,
        description="The value that becomes white in arrays and in grey images of more than 8 bits, such as 4095 for a "
        "camera of 12 bits; 0 for that of the type: 255 for 8 bits, 65535 for 16",
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
    holdout: float = Field(
        0.1,
        ge=0,
        le=1 << 32,
        description="Images held out if no splits are taken from the source: a share below 1, or a count from 1 on",
    )
    unit_images: int = Field(1024, ge=1, le=65536, description="Images per Parquet file; fewer if they exceed 1 GiB")

    @field_validator("image_size", mode="before")
    @classmethod
    def _square_is_one_number(cls, value: object) -> ImageSize:
        sides = value if isinstance(value, list | tuple) else [value, value]
        if len(sides) != 2 or not all(type(side) is int and _LEAST_SIDE <= side <= _LARGEST_SIDE for side in sides):
            raise ValueError(
                f"must be a whole number from {_LEAST_SIDE} to {_LARGEST_SIDE}, or [height, width] of such"
            )
        return image_size_of(*sides)

    @field_validator("holdout")
    @classmethod
    def _is_share_or_count(cls, holdout: float) -> float:
        if holdout >= 1 and holdout != int(holdout):
            raise ValueError("must be a share below 1 or a whole number of images")
        return holdout

    @field_serializer("holdout")
    def _count_is_whole(self, holdout: float) -> int | float:
        return int(holdout) if holdout == int(holdout) else holdout

    @model_validator(mode="after")
    def _source_is_given(self) -> Self:
        for name, given in (("source", self.source), ("test_source", self.test_source)):
            if self.kind == SourceKind.DIGITS and given:
                raise ValueError(f"prepare.{name} must be empty for the digits; got {given!r}")
            if any(not text or len(text) > _LONGEST_PATH for text in _places(given)):
                raise ValueError(f"prepare.{name} must be paths of 1 to {_LONGEST_PATH} characters")
        if self.test_source and not self.use_splits:
            raise ValueError(
                "prepare.test_source is a split, which prepare.use_splits=false does not take; leave one out"
            )
        return self

    @property
    def images_a_file(self) -> int:
        """`unit_images`, or fewer if they would exceed a gibibyte."""
        return min(self.unit_images, _LARGEST_FILE // prod((*image_sides(self.image_size), self.channels)))

    @property
    def shape(self) -> Shape:
        """The shape that all images take, and the way to it."""
        height, width = image_sides(self.image_size)
        return Shape(
            height=height,
            width=width,
            channels=self.channels,
            resize_filter=str(self.resize_filter),
            way=str(self.fit),
            white=self.max_value,
        )

    @property
    def reading(self) -> Reading:
        """The choices among these settings that reading the source needs."""
        return Reading(
            max_pixels=self.max_pixels,
            image_key=self.image_key,
            max_value=self.max_value,
            use_splits=self.use_splits,
            labels=self.labels,
            label_depth=self.label_depth,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The paths of the source; empty if it is not set."""
        return _places(self.source)

    @property
    def test_sources(self) -> tuple[str, ...]:
        """The paths of the held-out source; empty if it is not set."""
        return _places(self.test_source)


def _places(source: list[str] | str) -> tuple[str, ...]:
    paths = [source] if isinstance(source, str) else source
    return () if paths == [""] else tuple(paths)
