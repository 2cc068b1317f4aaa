"""A finished run in Python gives what was sealed, here and on S3."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
import torch

from flows.recipe.identity import settings_of
from flows.run import Run, list_runs, open_run
from flows.run_record import RunRecord
from flows.snapshot import load_snapshot
from infra.digests import sha256
from infra.errors import ConfigError, InputError, IntegrityError
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from tests.conftest import TinyRun
from tests.flows.conftest import NAME, manifest
from tests.servers import BUCKET, Server

Rows = tuple[np.ndarray, list[int | None]]


@pytest.fixture
def run(finished: TinyRun) -> Run:
    return open_run(NAME, finished.root)


def stored(run: TinyRun, kind: str, split: str) -> Rows:
    """The images and labels of a split, read by pyarrow alone."""
    sealed = manifest(run, kind)
    images, labels = [], []
    for unit in sealed["units"]:
        if unit["facts"]["split"] == split:
            data = (run.root / sealed["folder"] / unit["file"]).read_bytes()
            table = pq.read_table(BytesIO(data)).slice(0, unit["rows"])
            shape = json.loads(table.schema.metadata[b"ddpm.image"])["shape"]
            images += [np.frombuffer(row, np.uint8).reshape(shape) for row in table["image"].to_pylist()]
            labels += table["label"].to_pylist() if "label" in table.column_names else [-1] * len(table)
    return np.stack(images), labels


class TestOpening:
    @pytest.mark.parametrize("name", [NAME, "1a2b3c4d"])
    def test_by_name_or_key(self, finished: TinyRun, name: str) -> None:
        run = open_run(name, str(finished.root))
        assert (run.name, run.store.uri, run.links) == (NAME, str(finished.root), {"MLflow": "http://x/"})
        assert repr(run) == f"Run(name='{NAME}', store={run.store!r})"

    def test_the_root_is_that_of_the_command_line(self, finished: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DDPM_ROOT", str(finished.root))
        assert open_run(NAME).name == NAME
        assert list_runs() == [NAME]
        monkeypatch.delenv("DDPM_ROOT")
        monkeypatch.chdir(finished.root.parent)
        finished.root.rename("ddpm-runs")
        assert open_run(NAME).name == NAME

    def test_an_unknown_name_lists_the_known_ones(self, finished: TinyRun) -> None:
        RunRecord(name="other-5e6f7a8b", finished=finished.finished).write(finished.store)
        assert list_runs(finished.root) == [NAME, "other-5e6f7a8b"]
        with pytest.raises(InputError) as caught:
            open_run("third", finished.root)
        assert str(caught.value) == (
            f"third: no finished run of that name below {finished.root} - choose one of {NAME}, other-5e6f7a8b"
        )

    def test_by_the_text_before_the_digits(self, finished: TinyRun) -> None:
        for name in ("st1-5e6f7a8b", "st1-large-5e6f7a8c"):
            RunRecord(name=name, finished=finished.finished).write(finished.store)
        assert open_run("st1", finished.root).name == "st1-5e6f7a8b"
        assert open_run("st1-large", finished.root).name == "st1-large-5e6f7a8c"
        RunRecord(name="st1-0a0b0c0d", finished=finished.finished).write(finished.store)
        with pytest.raises(InputError, match=r"^st1: is the start of several .* one of st1-0a0b0c0d, st1-5e6f7a8b$"):
            open_run("st1", finished.root)

    def test_a_root_without_runs(self, tmp_path: Path) -> None:
        assert list_runs(tmp_path) == list_runs(tmp_path / "none") == []
        with pytest.raises(InputError, match="`ddpm run` makes one"):
            open_run(NAME, tmp_path)

    @pytest.mark.parametrize("name", ["", "../x"])
    def test_what_is_no_name(self, finished: TinyRun, name: str) -> None:
        with pytest.raises(ConfigError):
            open_run(name, finished.root)


class TestContents:
    def test_the_artifacts(self, finished: TinyRun, run: Run) -> None:
        for kind in ("dataset", "snapshot", "samples", "figures"):
            opened, sealed = getattr(run, kind), manifest(finished, kind)
            assert (opened.digest, opened.key) == (sealed["digest"], sealed["key"])
        assert {stage: found.digest for stage, found in run.manifests.items()} == {
            "prepare": run.dataset.digest,
            "train": run.snapshot.digest,
            "sample": run.samples.digest,
            "evaluate": run.figures.digest,
        }

    def test_the_settings_are_those_of_the_config(self, finished: TinyRun, run: Run) -> None:
        unused = {f"evaluate.{name}" for name in finished.config.evaluate.unused()}
        assert run.settings == {name: v for name, v in settings_of(finished.config).items() if name not in unused}
        assert run.settings["train.num_timesteps"] == 20
        assert run.settings["sample.count"] == 24

    def test_the_table_has_every_sealed_figure(self, finished: TinyRun, run: Run) -> None:
        sealed = manifest(finished, "figures")
        (unit,) = [unit for unit in sealed["units"] if unit["facts"].get("kind") == "figures"]
        values = json.loads((finished.root / sealed["folder"] / unit["file"]).read_bytes())
        table = pandas.DataFrame(run.table()).set_index("name")
        assert list(table.columns) == ["value", "standard_error", "note"]
        assert list(table.index[:3]) == ["fd_pixels", "bits_per_dim_fixed_large", "bits_per_dim_fixed_small"]
        assert table["value"].to_dict() == {name: value for name, (value, _) in values.items()}
        found = table["standard_error"].dropna()
        assert found.to_dict() == {name: error for name, (_, error) in values.items() if error is not None}
        about = (
            "Fréchet distance of 24 samples to 1,576 training images (not an FID); a standard error needs 80 samples"
        )
        assert table.loc["fd_pixels", "note"] == about
        assert (
            table.loc["bits_per_dim_fixed_small", "note"] == "upper bound on -log p of 16 held-out images, 256 levels"
        )
        assert table.loc["decoder_bpd_fixed_small", "note"] == "the bound's term of the last step, fixed small"
        assert all(table["note"])

    @pytest.mark.parametrize(
        ("kind", "which", "count"), [("samples", "samples", 24), ("dataset", "train", 0), ("dataset", "test", 0)]
    )
    def test_the_images(self, finished: TinyRun, run: Run, kind: str, which: Any, count: int) -> None:
        expected, expected_labels = stored(finished, kind, which)
        images, labels = run.images(which)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert len(images) == (count or getattr(run.dataset, f"{which}_images"))
        np.testing.assert_array_equal(images, expected)
        assert labels.tolist() == expected_labels
        few, their_labels = run.images(which, limit=9)
        np.testing.assert_array_equal(few, expected[:9])
        assert their_labels.tolist() == expected_labels[:9]

    @pytest.mark.parametrize("size", [1, 7, 8, 24, 1000])
    def test_the_batches_are_the_images(self, run: Run, size: int) -> None:
        images, labels = run.images("samples")
        batches = list(run.batches("samples", size))
        assert [len(part) for part, _ in batches[:-1]] == [size] * (len(batches) - 1)
        assert 0 < len(batches[-1][0]) <= size
        np.testing.assert_array_equal(np.concatenate([part for part, _ in batches]), images)
        np.testing.assert_array_equal(np.concatenate([part for _, part in batches]), labels)
        assert all(part.flags.writeable and part.flags.owndata for part, _ in batches)

    def test_a_file_is_read_when_its_images_are_wanted(self, finished: TinyRun, run: Run) -> None:
        reads: list[str] = []

        class Counted(LocalStore):
            def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
                reads.append(name)
                return super().read(name, start, length)

        batches = replace(run, store=Counted(finished.root)).batches("samples", 8)
        assert reads == []
        next(batches)
        next(batches)
        assert [name.rpartition("units/")[2].split(".")[0] for name in reads] == ["000000", "000001"]

    def test_the_network(self, finished: TinyRun, run: Run) -> None:
        sealed = manifest(finished, "snapshot")
        expected = load_snapshot(str(finished.root / sealed["folder"] / sealed["units"][0]["file"]))
        loaded = run.network()
        assert loaded.network.config == expected.network.config
        weights = expected.network.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in loaded.network.state_dict().items())
        assert torch.equal(loaded.schedule.betas, expected.schedule.betas)
        assert loaded[2:] == expected[2:]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda run: run.images("progress"), "images must be one of samples, train, test; got 'progress'"),
        (lambda run: run.images("train", limit=0), "limit must be at least 1; got 0"),
        (lambda run: run.batches("tests"), "images must be one of samples, train, test; got 'tests'"),
        (lambda run: run.batches("test", size=-1), "size must be at least 1; got -1"),
    ],
)
def test_what_there_is_not(run: Run, call: Callable[[Run], object], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        call(run)


def test_a_run_on_s3(finished: TinyRun, run: Run, moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    root = f"s3://{BUCKET}/python"
    there = open_store(root)
    for name in finished.store.list("."):
        there.put_if_absent(name, finished.store.read(name))
    assert list_runs(root) == [NAME]
    remote = open_run("1a2b3c4d", root)
    assert (remote.settings, remote.table()) == (run.settings, run.table())
    assert all(np.array_equal(a, b) for a, b in zip(remote.images("test"), run.images("test"), strict=True))
    weights = run.network().network.state_dict()
    trained = remote.manifests["train"]
    by_url = load_snapshot(f"{root}/{trained.folder}/{trained.units[0]['file']}")
    for network in (remote.network().network, by_url.network):
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    drawn = remote.manifests["sample"]
    file = f"{drawn.folder}/{drawn.units[0]['file']}"
    there.replace(file, b"PAR1" + there.read(file)[4:-1] + b"2")
    with pytest.raises(IntegrityError, match="differs from its digest"):
        remote.images("samples")
    with pytest.raises(InputError, match=f"choose one of {NAME}"):
        open_run("other", root)


def test_nothing_else_is_started(finished: TinyRun) -> None:
    """In a fresh process, used as a notebook would, where pandas is not installed."""
    program = (
        "import sys; sys.modules['pandas'] = None; from flows.run import open_run, list_runs; "
        f"run = open_run(list_runs({str(finished.root)!r})[0], {str(finished.root)!r}); "
        "run.table(), run.settings, run.images('samples'), list(run.batches('test')), run.network(); "
        "print(sorted({'ray', 'prefect', 'mlflow', 'botocore', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


class TestPoints:
    def test_they_are_those_of_the_manifest(self, finished: TinyRun, run: Run) -> None:
        points = run.points()
        assert [point.as_json() for point in points] == manifest(finished, "snapshot")["facts"]["points"]
        assert points[-1].images_seen == 1280
        assert points[-1].figures is not None

    def test_each_has_a_network(self, run: Run) -> None:
        first, *_, last = run.points()
        early, late = run.network(str(first.images_seen)), run.network(str(last.images_seen))
        assert run.snapshot_file(str(last.images_seen)) == run.snapshot_file()
        pairs = list(zip(early.network.parameters(), late.network.parameters(), strict=True))
        assert any(not torch.equal(one, other) for one, other in pairs)

    def test_the_best_has_the_lowest_bound(self, run: Run) -> None:
        measured = [point for point in run.points() if point.figures is not None]
        best = min(measured, key=lambda point: point.figures.bits_per_dim)
        data, name = run.snapshot_file("best")
        assert name.endswith(best.file)
        assert sha256(data) == best.sha256

    def test_there_is_no_other(self, run: Run) -> None:
        with pytest.raises(InputError, match="has no point at 3 images"):
            run.network("3")
