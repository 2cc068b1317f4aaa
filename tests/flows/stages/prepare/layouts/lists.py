"""Small copies of the data sets that are published as image files with lists of their names: CelebA, Tiny ImageNet."""

import io
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.flows.stages.prepare.layouts.bytes import jpeg, png, put, tarred, zipped

_WORDS = ("n01443537", "n01629819")
_ATTRIBUTES = ("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Male", "Smiling")
_FACES = range(1, 13)


def _tiny_imagenet() -> dict[str, bytes]:
    files, top = {}, "tiny-imagenet-200"
    for number, name in enumerate(_WORDS):
        for n in range(10 * number, 10 * number + 6):
            files[f"{top}/train/{name}/images/{name}_{n}.JPEG"] = jpeg(n)
        files[f"{top}/train/{name}/{name}_boxes.txt"] = f"{name}_0.JPEG\t0\t0\t62\t44\n".encode()
    rows = [f"val_{n}.JPEG\t{_WORDS[n % 2]}\t0\t32\t44\t62\n" for n in range(6)]
    files[f"{top}/val/val_annotations.txt"] = "".join(rows).encode()
    files |= {f"{top}/{split}/images/{split}_{n}.JPEG": jpeg(n + 30) for split in ("val", "test") for n in range(6)}
    return files | {f"{top}/wnids.txt": "\n".join(_WORDS).encode(), f"{top}/words.txt": b"n00001740\tentity\n"}


def tiny_imagenet(top: Path) -> None:
    put(top, _tiny_imagenet())


def tiny_imagenet_packed(top: Path) -> None:
    put(top, {"tiny-imagenet-200.zip": zipped(_tiny_imagenet())})


def _faces() -> dict[str, bytes]:
    return {f"img_align_celeba/{n:06d}.jpg": jpeg(n) for n in _FACES}


def _attributes(n: int) -> list[str]:
    return [str(1 if n % (place + 2) else -1) for place in range(len(_ATTRIBUTES))]


def _lists() -> dict[str, bytes]:
    rows = "".join(f"{n:06d}.jpg {' '.join(value.rjust(2) for value in _attributes(n))}\n" for n in _FACES)
    return {
        "celeba/list_attr_celeba.txt": f"{len(_FACES)}\n{' '.join(_ATTRIBUTES)} \n{rows}".encode(),
        "celeba/list_eval_partition.txt": "".join(f"{n:06d}.jpg {n % 3}\n" for n in _FACES).encode(),
        "celeba/identity_CelebA.txt": "".join(f"{n:06d}.jpg {2880 + n % 2}\n" for n in _FACES).encode(),
        "celeba/list_bbox_celeba.txt": b"1\nimage_id x_1 y_1 width height\n000001.jpg    95  71 226 313\n",
        "celeba/list_landmarks_align_celeba.txt": b"1\nlefteye_x lefteye_y\n000001.jpg 69  109\n",
    }


def celeba(top: Path) -> None:
    put(top, _lists() | {f"celeba/{name}": data for name, data in _faces().items()})


def celeba_packed(top: Path) -> None:
    put(top, _lists() | {"celeba/img_align_celeba.zip": zipped(_faces())})


def celeba_of_kaggle(top: Path) -> None:
    rows = "".join(f"{n:06d}.jpg,{','.join(_attributes(n))}\n" for n in _FACES)
    parts = "".join(f"{n:06d}.jpg,{n % 3}\n" for n in _FACES)
    lists = {
        "list_attr_celeba.csv": f"image_id,{','.join(_ATTRIBUTES)}\n{rows}".encode(),
        "list_eval_partition.csv": f"image_id,partition\n{parts}".encode(),
        "list_bbox_celeba.csv": b"image_id,x_1,y_1,width,height\n000001.jpg,95,71,226,313\n",
    }
    images = {f"img_align_celeba/{name}": data for name, data in _faces().items()}
    put(top, {f"celeba-dataset/{name}": data for name, data in (lists | images).items()})


def cub_200(top: Path) -> None:
    names = [f"{1 + n // 6:03d}.{('Albatross', 'Auklet')[n // 6]}/Bird_{n:04d}_{n}.jpg" for n in range(12)]
    files = {f"images/{name}": jpeg(n) for n, name in enumerate(names)} | {
        "images.txt": "".join(f"{n} {name}\n" for n, name in enumerate(names, 1)).encode(),
        "image_class_labels.txt": "".join(f"{n} {1 + n // 7}\n" for n in range(1, 13)).encode(),
        "train_test_split.txt": "".join(f"{n} {n % 2}\n" for n in range(1, 13)).encode(),
        "classes.txt": b"1 001.Albatross\n2 002.Auklet\n",
    }
    put(top, {"CUB_200_2011.tgz": tarred({f"CUB_200_2011/{name}": data for name, data in files.items()}, "w:gz")})


def kaggle(top: Path) -> None:
    """Images are called alike in both folders; the table has no suffixes."""
    rows = "".join(f"{n},{('frog', 'truck')[n % 2]}\n" for n in range(1, 13))
    put(top, {"digits/train.csv": f"id,label\n{rows}".encode(), "digits/sample_submission.csv": b"id,label\n1,cat\n"})
    put(
        top,
        {
            f"digits/{split}/{n}.png": png(n + 50 * (split == "test"))
            for split in ("train", "test")
            for n in range(1, 13)
        },
    )


def flowers(top: Path) -> None:
    """Unpacked; docs/datasets.md says how its lists become tables."""
    put(top, {f"jpg/image_{n:05d}.jpg": jpeg(n) for n in range(1, 13)})
    sets = {"trnid": [1, 2, 6, 8, 9, 12], "valid": [3, 7], "tstid": [4, 5, 10, 11]}
    files = {"imagelabels": {"labels": np.arange(12)[None] % 3 + 1}}
    files["setid"] = {name: np.array([numbers]) for name, numbers in sets.items()}
    for name, arrays in files.items():
        buffer = io.BytesIO()
        savemat(buffer, arrays)
        put(top, {f"{name}.mat": buffer.getvalue()})
