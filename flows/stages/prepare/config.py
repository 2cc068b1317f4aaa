"""The settings of preparation."""

from typing import Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

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


class PrepareConfig(StageConfig):
    """Turns images into a sealed data set."""

    kind: SourceKind = choice(SourceKind.FOLDER, "The format of the source")
    source: list[str] | str = outside_input(
        "", "Folder, file or glob, local or s3://, or a list of these; empty for digits"
    )
    test_source: list[str] | str = outside_input(
        "",
        "Held-out images, in the form of prepare.source, which then holds training images alone; no splits are looked "
        "for in either",
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
    use_splits: bool = Field(True, description="Take the splits that the source gives; false takes none of them")
    holdout: float = Field(
        0.1,
        ge=0,
        le=1 << 32,
        description="Images held out if no splits are taken from the source: a share below 1, or a count from 1 on",
    )
    unit_images: int = Field(1024, ge=1, le=65536, description="Images per Parquet file; fewer if they exceed 1 GiB")

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
        return min(self.unit_images, _LARGEST_FILE // (self.image_size**2 * self.channels))

    @property
    def reading(self) -> Reading:
        """What these settings choose of how the source is read."""
        return Reading(max_pixels=self.max_pixels, use_splits=self.use_splits)

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
