"""The record of a network: its file, the digest of its bytes, and the settings that made it."""

from pathlib import Path

from flows.model_record import model_file
from infra.digests import sha256
from tests.conftest import TinyRun


def test_it_names_the_file_and_its_settings(tiny_run: TinyRun) -> None:
    record = model_file(tiny_run.snapshot, tiny_run.dataset, tiny_run.store)
    assert sha256(Path(record.uri).read_bytes()) == record.sha256
    assert record.name == f"digits-{tiny_run.snapshot.key[:8]}-1280"
    assert (record.params["train.images"], record.params["train.base_channels"]) == (1280, 8)
    assert record.params["prepare.kind"] == "digits"
    assert record.tags == {
        "ddpm.stage_key": tiny_run.snapshot.key,
        "ddpm.digest": tiny_run.snapshot.digest,
        "ddpm.data_digest": tiny_run.dataset.digest,
    }
