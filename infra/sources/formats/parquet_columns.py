"""The columns of a Parquet or Arrow file that hold images and their labels."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.formats.label_values import LabelValues
from infra.sources.keys import ALL, IMAGE_KEYS, several_images
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import SPLITS, NoClasses

LABEL_COLUMNS = ("label", "labels", "fine_label", "class")
_OWN_KEY, _HUGGING_FACE_KEY = b"ddpm.image", b"huggingface"
MAX_LABEL_CHARS = 256
_COLUMNS_SHOWN = 3
_NO_CLASSES = f"repair it, or set {Term.LABELS}=none to train without classes"
_WHOLE = pa.types.is_integer, pa.types.is_boolean
_NUMBERS = (*_WHOLE, pa.types.is_floating)
# As many as there may be classes; each becomes a Python object.
_MAX_LIST = 100_000


@dataclass(frozen=True)
class Columns:
    """The columns of images and labels, with all that the file says about them.

    Attributes:
        leaf: The path of the images' bytes.
        shape: [c, h, w] of pixels; empty if the images are encoded.
        label: The name of the column of labels; empty if the file has none.
        class_names: The classes by their number; empty if the file does not name them.
        split: The split of a file of this pipeline; empty for any other.
        left_out: The other columns that may hold images.
        others: The other columns that may hold labels, one per image.
    """

    leaf: str
    shape: tuple[int, ...]
    label: str
    class_names: tuple[str, ...]
    split: str
    left_out: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def no_classes(self, trouble: str) -> Iterator[NoClasses]:
        """Say that the labels are no classes, if they are in `trouble`, and which columns may be chosen instead."""
        if trouble:
            choice = f"column:NAME ({', '.join(self.others[:_COLUMNS_SHOWN])})" if self.others else ""
            yield NoClasses(f"column {self.label}: {trouble}", choice)


def image_columns(schema: pa.Schema, path: str, reading: Reading = BY_RULE) -> Columns:
    """Find the columns of images and labels.

    Args:
        schema: The schema of the file.
        path: Its name in an error.
        reading: What the user chose of the columns.

    Raises:
        InputError: If no column or several columns may hold images, or a type or the metadata is not as it must be.
    """
    image = _image_column(schema, reading.image_key, path)
    leaf = f"{image}.bytes" if pa.types.is_struct(schema.field(image).type) else image
    metadata = schema.metadata or {}
    own = _json(metadata, _OWN_KEY, path)
    match own:
        case {"dtype": "uint8", "layout": "CHW", "shape": [int() as c, int() as h, int() as w]} if min(c, h, w) > 0:
            shape: tuple[int, ...] = (c, h, w)
        case about if about:
            raise InputError(
                "describes its pixels in a form that this version does not know", item=path, remedy="prepare it again"
            )
        case _:
            shape = ()
    label = _label_column(schema, reading, path)
    names = _class_names(metadata, label, own, path) if label else ()
    split = own.get("split")
    left_out = tuple(field.name for field in schema if _is_image(field.type) and field.name != image)
    others = tuple(field.name for field in schema if _is_one_label(field.type, _WHOLE) and field.name != label)
    return Columns(leaf, shape, label, names, str(split) if split in SPLITS else "", left_out, others if label else ())


def label_text(stored: pa.Scalar, columns: Columns, path: str, values: LabelValues, *, signed: bool = False) -> str:
    """Return the label of a row as text; empty if it has none.

    Args:
        stored: The stored value.
        columns: The columns of the file.
        path: Its name in an error.
        values: Turns values into classes, and notices if they are none.
        signed: Whether a negative number is a label; by convention -1 stands for one that is not published.

    Raises:
        InputError: If it is not the number of a class, is too long, or cannot be printed.
    """
    if isinstance(stored, pa.ListScalar) and stored.is_valid and len(stored.values) > _MAX_LIST:
        raise InputError(f"has a row of {len(stored.values)} labels", item=path, remedy=_NO_CLASSES)
    value = stored.as_py()
    names = columns.class_names
    if type(value) is int and names and value >= len(names):
        raise InputError(f"has the label {value} of {len(names)}", item=path, remedy=_NO_CLASSES)
    is_hidden = type(value) is int and value < 0 and not signed
    text = value if isinstance(value, str) else "" if is_hidden else values.name(value, names)
    if len(text) > MAX_LABEL_CHARS:
        raise InputError(f"has a label of over {MAX_LABEL_CHARS} characters", item=path, remedy=_NO_CLASSES)
    if not text.isprintable():
        raise InputError(f"has a label that cannot be printed: {text[:20]!a}", item=path, remedy=_NO_CLASSES)
    return text


def _image_column(schema: pa.Schema, image_key: str, path: str) -> str:
    image_key = "" if image_key == ALL else image_key
    named = [name for name in ([image_key] if image_key else IMAGE_KEYS) if name in schema.names][:1]
    found = named or [field.name for field in schema if _is_image(field.type)]
    if image_key and not named:
        cause = f"has no column {image_key}: {', '.join(schema.names)[:200]}"
        raise InputError(cause, item=path, remedy=f"set {Term.IMAGE_KEY} to the column of the images")
    if len(found) > 1:
        raise several_images(found, path)
    if not found or schema.names.count(found[0]) != 1:
        cause = "has a column twice" if found else "has no column of images"
        raise InputError(f"{cause}: {', '.join(schema.names)[:200]}", item=path, remedy="call the images' column image")
    field = schema.field(found[0])
    # Arrow returns an extension type that it does not know as its storage type: bytes of unknown meaning.
    extension = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode("latin-1")
    if extension or not _is_image(field.type):
        cause = f"has a column {found[0]} of the type {(extension or str(field.type))[:80]}, not of bytes"
        raise InputError(cause, item=path, remedy="write the encoded images as bytes")
    return str(found[0])


def _label_column(schema: pa.Schema, reading: Reading, path: str) -> str:
    """The column that the user chose, or the first that is called like labels; empty if no column counts."""
    candidates = LABEL_COLUMNS if reading.own_labels else [reading.picked] if reading.picked else []
    label = next((name for name in candidates if schema.get_field_index(name) >= 0), "")
    if reading.picked and not label:
        cause = f"has no column {reading.picked}: {', '.join(schema.names)[:200]}"
        raise InputError(cause, item=path, remedy=f"set {Term.LABELS}=column:NAME to one of these")
    if label and not _is_label(schema.field(label).type):
        cause = f"has labels of the type {schema.field(label).type}, neither numbers nor text"
        remedy = f"write {label} as integers, or set {Term.LABELS}=none"
        raise InputError(cause, item=path, remedy=remedy)
    return label


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary))


def _is_label(kind: pa.DataType) -> bool:
    is_list = any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
    return _is_one_label(kind.value_type if is_list else kind)


def _is_one_label(kind: pa.DataType, numbers: Sequence[Callable[[pa.DataType], bool]] = _NUMBERS) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(kind) for test in (*numbers, pa.types.is_string, pa.types.is_large_string))


def _class_names(metadata: dict[bytes, bytes], label: str, own: dict[str, object], path: str) -> tuple[str, ...]:
    found: object = _json(metadata, _HUGGING_FACE_KEY, path)
    for key in ("info", "features", label, "names"):
        # A list of labels has its classes one level below.
        if key == "names" and isinstance(found, dict) and "names" not in found:
            found = found.get("feature", {})
        found = found.get(key, {}) if isinstance(found, dict) else {}
    given = own.get("class_names", found)
    names = given if isinstance(given, list) else []
    if not all(isinstance(name, str) and len(name) <= MAX_LABEL_CHARS and name.isprintable() for name in names):
        raise InputError(f"has names of {label} that are no text", item=path, remedy=_NO_CLASSES)
    return tuple(names)


def _json(metadata: dict[bytes, bytes], key: bytes, path: str) -> dict[str, object]:
    try:
        found = json.loads(metadata.get(key, b"{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"has metadata that is no JSON ({error})", item=path, remedy=REPAIR) from error
    return found if isinstance(found, dict) else {}
