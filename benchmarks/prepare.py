"""Preparing and reading data sets: against a plain loop, at growing size, and through S3.

`python benchmarks/prepare.py speed FOLDER`: a folder by a loop in one process and by two Ray workers, in turn.
`python benchmarks/prepare.py scale [--images 100000 1000000]`: synthetic images; time, and peak memory by process.
`python benchmarks/prepare.py s3 FOLDER s3://BUCKET/PREFIX`: source and output each local or on S3; and reading both.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ddpm_core.training_order import TwoLevelOrder
from flows.stage import Context, Progress
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.compute.cluster import Cluster
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import parse_manifest
from infra.outputs.rows import RowReader
from infra.storage.open import open_store
from infra.storage.s3 import put_if_absent
from infra.storage.uri import parse_place

SIZE = 32
UNIT = 1024
# Of the units, those between which the rate is taken: start and end of the pool are left out.
STEADY = (0.15, 0.9)
POLL_S = 0.2
BATCH = 128
WINDOW = 1024
EPOCHS = 2
SINGLE_ROWS = 200


def plain_loop(folder: Path, out: Path) -> float:
    """Read, hash, decode, resize and write by a loop; return images a second."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    started = time.perf_counter()
    for start in range(0, len(paths), UNIT):
        rows: dict[str, list[object]] = {"image": [], "sha256": [], "name": []}
        for path in paths[start : start + UNIT]:
            data = path.read_bytes()
            image = Image.open(BytesIO(data)).convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.crop((left, top, left + side, top + side))
            if side != SIZE:
                square = square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            rows["image"].append(np.asarray(square).transpose(2, 0, 1).tobytes())
            rows["sha256"].append(hashlib.sha256(data).hexdigest())
            rows["name"].append(path.relative_to(folder).as_posix())
        pq.write_table(pa.table(rows), out / f"{start:09d}.parquet", compression="zstd", write_page_checksum=True)
    return len(paths) / (time.perf_counter() - started)


def ours(config: PrepareConfig, root: str, cluster: Cluster) -> tuple[float, float, int]:
    """Prepare with Ray up; return images a second in the steady state and over all, and their number."""
    ticks: list[tuple[float, Progress]] = []
    store = open_store(root)
    store.make()

    def tick(progress: Progress) -> None:
        ticks.append((time.perf_counter(), progress))

    started = time.perf_counter()
    dataset = prepare(config, Context(store=store, cluster=cluster, force=False, on_progress=tick))
    whole = time.perf_counter() - started
    count = dataset.train_images + dataset.test_images
    first, last = (ticks[round(share * (len(ticks) - 1))] for share in STEADY)
    steady = (last[1].done - first[1].done) / (last[0] - first[0])
    return steady, count / whole, count


def speed(folder: Path, repeats: int) -> None:
    """Print both rates and their ratio."""
    config = PrepareConfig(kind="folder", source=str(folder), image_size=SIZE, unit_images=UNIT, workers=2)
    pairs = []
    with Cluster(mode="ray", cpus=2) as cluster:
        cluster.connect()
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as out:
                loop = plain_loop(folder, Path(out))
            with tempfile.TemporaryDirectory() as root:
                steady, whole, count = ours(config, root, cluster)
            pairs.append((loop, steady, whole))
            print(f"loop {loop:,.0f}/s, steady {steady:,.0f}/s, whole {whole:,.0f}/s, ratio {steady / loop:.2f}")
    loop, steady, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{count:,} images: loop {loop:,.0f}/s; two workers {steady:,.0f}/s steady, {whole:,.0f}/s with list and seal"
    )
    print(f"ratio {statistics.median(b / a for a, b, _ in pairs):.2f}")


def scale(sizes: list[int]) -> None:
    """Print time and the largest resident set of the driver and of a worker, for each number of images."""
    with Cluster(mode="ray", cpus=2) as cluster, tempfile.TemporaryDirectory() as folder:
        cluster.connect()
        for size in sizes:
            source = Path(folder) / f"{size}.npy"
            synthetic(source, size)
            config = PrepareConfig(kind="arrays", source=str(source), image_size=16, unit_images=UNIT, workers=2)
            with peaks() as largest:
                steady, whole, _ = ours(config, f"{folder}/root-{size}", cluster)
            source.unlink()
            told = ", ".join(f"{name} {size >> 20} MiB" for name, size in sorted(largest.items()))
            print(f"{size:,} images: {steady:,.0f}/s steady, {whole:,.0f}/s in all; peak {told}", flush=True)


def synthetic(path: Path, size: int) -> None:
    """Write so many random images [16, 16, 3], a piece at a time."""
    header = np.lib.format.header_data_from_array_1_0(np.empty((0, 16, 16, 3), dtype=np.uint8))
    header["shape"] = (size, 16, 16, 3)
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, size, 10_000):
            file.write(generator.bytes(min(10_000, size - start) * 768))


@contextmanager
def peaks() -> Iterator[dict[str, int]]:
    """Collect the largest resident set of this process and of any worker below it, shared memory left out."""
    largest: dict[str, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_S):
            for pid, name in (("self", "driver"), *((pid, "worker") for pid in workers())):
                largest[name] = max(largest.get(name, 0), resident(pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield largest
    ended.set()
    thread.join()


def workers() -> list[str]:
    """The actors of this machine that run units."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if "_UnitActor" in (folder / "cmdline").read_text() or "MapWorker" in (folder / "cmdline").read_text():
                    found.append(folder.name)
            except OSError:
                continue
    return found


def resident(pid: str) -> int:
    """Anonymous memory of a process in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon")), 0)


def through_s3(folder: Path, uri: str) -> None:
    """Print rates with source and output local and on S3, then of reading in training order from either."""
    place = parse_place(uri)
    started = time.perf_counter()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(16) as pool:
        keys = [f"{place.path}/source/{path.relative_to(folder).as_posix()}" for path in paths]
        list(pool.map(lambda key, path: put_if_absent(place.bucket, key, path.read_bytes()), keys, paths))
    print(f"upload: {len(paths) / (time.perf_counter() - started):,.0f} files/s")
    with Cluster(mode="ray", cpus=2) as cluster, tempfile.TemporaryDirectory() as local:
        cluster.connect()
        for source, root in ((str(folder), local), (str(folder), f"{uri}/a"), (f"{uri}/source/", f"{uri}/b")):
            config = PrepareConfig(kind="folder", source=source, image_size=SIZE, unit_images=UNIT, workers=2)
            steady, whole, count = ours(config, root, cluster)
            names = ["S3" if where.startswith("s3://") else "local" for where in (source, root)]
            print(f"{' to '.join(names)}: {count:,} images, {steady:,.0f}/s steady, {whole:,.0f}/s in all", flush=True)
        for root in (local, f"{uri}/a"):
            read(root)


def read(root: str) -> None:
    """Print images a second in the order of two-level shuffling, from start and middle, and what one row costs."""
    store = open_store(root)
    (name,) = (found for found in store.list("prepare") if found.endswith("manifests/all.json"))
    reader = DatasetReader(store=store, manifest=parse_manifest(store.read(name), name))
    sizes = [unit["rows"] for unit in reader.units("train")]
    kind = "S3" if root.startswith("s3://") else "local"
    for start in (0, sum(sizes) // 2):
        # No more than half of the data set fits: what an epoch read, the next reads again.
        rows = RowReader(reader, "train", 2 * (WINDOW + max(sizes)), by_file=True)
        order = TwoLevelOrder(0, sizes, WINDOW)
        begun = time.perf_counter()
        rows(order(torch.arange(start, start + BATCH)).numpy())
        first = time.perf_counter() - begun
        for slot in range(start + BATCH, start + EPOCHS * sum(sizes), BATCH):
            rows(order(torch.arange(slot, slot + BATCH)).numpy())
        speed = EPOCHS * sum(sizes) / (time.perf_counter() - begun)
        print(f"read, {kind}, from slot {start:,}: first batch after {first:.2f} s, {speed:,.0f} images/s")
    rows = RowReader(reader, "train", 1)
    numbers = np.random.default_rng(0).integers(0, sum(sizes), (2, SINGLE_ROWS, 1))
    for number in numbers[0]:
        rows(number)
    begun = time.perf_counter()
    for number in numbers[1]:
        rows(number)
    print(f"read, {kind}: one row at random {1e3 * (time.perf_counter() - begun) / SINGLE_ROWS:.2f} ms")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_speed = kinds.add_parser("speed")
    of_speed.add_argument("folder", type=Path)
    of_speed.add_argument("--repeats", type=int, default=3)
    of_scale = kinds.add_parser("scale")
    of_scale.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000])
    of_s3 = kinds.add_parser("s3")
    of_s3.add_argument("folder", type=Path)
    of_s3.add_argument("uri")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    match options.kind:
        case "speed":
            speed(options.folder, options.repeats)
        case "scale":
            scale(options.images)
        case "s3":
            through_s3(options.folder, options.uri)


if __name__ == "__main__":
    main()
