"""Small copies of the data sets that are published as arrays: MNIST and its like, CIFAR, SVHN, MedMNIST, STL-10."""

import io
import pickle
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.flows.stages.prepare.layouts.bytes import idx, noise, npz, put, tarred

COUNTS = {"train": 12, "test": 6}


def labels(count: int, classes: int = 3, first: int = 0) -> np.ndarray:
    return (np.arange(count) % classes + first).astype(np.uint8)


def _mnist_files(start: str, test: str, first: int = 0) -> dict[str, bytes]:
    files = {}
    for split, name in (("train", "train"), ("test", test)):
        files[f"{start}{name}-images-idx3-ubyte.gz"] = idx(noise(COUNTS[split], 28, 28))
        files[f"{start}{name}-labels-idx1-ubyte.gz"] = idx(labels(COUNTS[split], first=first))
    return files


def mnist(top: Path) -> None:
    put(top, _mnist_files("MNIST/raw/", "t10k"))


def fashion_mnist(top: Path) -> None:
    put(top, _mnist_files("FashionMNIST/raw/", "t10k"))


def emnist(top: Path) -> None:
    for name in ("byclass", "letters", "digits"):
        put(top, _mnist_files(f"EMNIST/gzip/emnist-{name}-", "test", first=int(name == "letters")))
        put(top, {f"EMNIST/gzip/emnist-{name}-mapping.txt": b"1 65 97\n2 66 98\n"})


def qmnist(top: Path) -> None:
    for split, count in COUNTS.items():
        rows = np.zeros((count, 8), dtype=np.int32)
        rows[:, 0] = labels(count)
        put(top, {f"qmnist/qmnist-{split}-images-idx3-ubyte.gz": idx(noise(count, 28, 28))})
        put(top, {f"qmnist/qmnist-{split}-labels-idx2-int.gz": idx(rows)})


def kmnist(top: Path) -> None:
    for split, count in COUNTS.items():
        put(top, {f"kmnist/kmnist-{split}-imgs.npz": npz(arr_0=noise(count, 28, 28))})
        put(top, {f"kmnist/kmnist-{split}-labels.npz": npz(arr_0=labels(count))})


def medmnist(top: Path) -> None:
    arrays = {}
    for split, count in {**COUNTS, "val": 4}.items():
        arrays[f"{split}_images"] = noise(count, 28, 28, 3)
        arrays[f"{split}_labels"] = labels(count)[:, None]
    put(top, {"pathmnist.npz": npz(**arrays)})


def _cifar(folder: str, batches: dict[str, str], key: str, names: dict[str, object]) -> dict[str, bytes]:
    files = {f"{folder}/{name}": pickle.dumps(values, protocol=2) for name, values in names.items()}
    for name, split in batches.items():
        count = COUNTS[split]
        batch = {b"data": noise(count, 3072), key.encode(): labels(count).tolist()}
        files[f"{folder}/{name}"] = pickle.dumps(batch, protocol=2)
    return files


def cifar_10(top: Path) -> None:
    batches = {f"data_batch_{n}": "train" for n in range(1, 6)} | {"test_batch": "test"}
    names = {"batches.meta": {"label_names": [f"class {n}" for n in range(10)]}}
    files = _cifar("cifar-10-batches-py", batches, "labels", names)
    put(top, {"cifar-10-python.tar.gz": tarred(files, "w:gz")})


def cifar_100(top: Path) -> None:
    names = {"meta": {"fine_label_names": [f"class {n}" for n in range(100)]}}
    files = _cifar("cifar-100-python", {"train": "train", "test": "test"}, "fine_labels", names)
    put(top, {"cifar-100-python.tar.gz": tarred(files, "w:gz")})


def svhn(top: Path) -> None:
    for split, count in {**COUNTS, "extra": 5}.items():
        buffer = io.BytesIO()
        savemat(buffer, {"X": noise(32, 32, 3, count), "y": labels(count, 10, 1)[:, None]}, do_compression=True)
        put(top, {f"svhn/{split}_32x32.mat": buffer.getvalue()})


def stl_10(top: Path) -> None:
    """As fetched; docs/datasets.md says how they become arrays."""
    for split, count in COUNTS.items():
        put(top, {f"stl10_binary/{split}_X.bin": noise(count, 3, 96, 96).tobytes()})
        put(top, {f"stl10_binary/{split}_y.bin": labels(count, first=1).tobytes()})
