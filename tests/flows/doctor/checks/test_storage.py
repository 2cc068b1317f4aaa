"""The root, the images and the clock: folders, disks and buckets that are wrong in a way."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.doctor.check import Check, Subject
from flows.doctor.checks import clock, root, source
from flows.doctor.child import findings
from flows.doctor.finding import Finding, Level
from infra.storage import s3
from infra.storage.s3_client import Limits
from infra.storage.trial import trial
from tests.servers import BUCKET, SECRET_KEY, Server, free_ports


def found(run: object, place: str = ".", *sources: str) -> list[Finding]:
    return findings(Check(name="made-up", about="?", run=run), Subject(root=place, sources=sources))


def only(run: object, place: str = ".", *sources: str) -> Finding:
    (one,) = found(run, place, *sources)
    return one


@pytest.fixture
def bucket(moto: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/doctor"


def test_a_root_that_can_be_used(tmp_path: Path, bucket: str) -> None:
    assert only(root.check, str(tmp_path / "new")).level is not Level.WRONG
    assert list(tmp_path.iterdir()) == []
    there = only(root.check, bucket)
    assert (there.level, there.item) == (Level.OK, f"root {bucket}")


def test_a_file_in_place_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = only(root.check, str(tmp_path / "file" / "runs"))
    assert (one.exit_code, one.cause) == (2, f"{tmp_path / 'file'} is a file")


def test_a_folder_that_cannot_be_written() -> None:
    """Nobody can make files in /proc, not even root."""
    one = only(root.check, "/proc/sys/runs")
    assert one.exit_code == 2
    assert one.remedy.startswith("choose another --root")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        one = only(root.check, str(tmp_path / "runs"))
    finally:
        tmp_path.chmod(0o700)
    assert (one.exit_code, one.cause) == (2, f"{tmp_path} cannot be written")


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        one = only(root.check, str(folder))
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert (one.exit_code, one.cause) == (7, "1 MiB free")


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    one = only(root.check, "s3://no-such-bucket/runs")
    assert (one.exit_code, one.remedy) == (2, "create it, or correct its name")


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(root, "trial", partial(trial, limits=Limits(total_s=0.3)))
    one = only(root.check, bucket)
    assert one.exit_code == 4
    assert SECRET_KEY not in str(one)


@contextmanager
def store_that_answers(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A store that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/xml", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def test_a_bucket_without_rights(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with store_that_answers(403, REFUSAL) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        one = only(root.check, bucket)
    assert (one.exit_code, one.cause) == (2, "not allowed: AccessDenied")
    assert one.remedy.startswith("allow s3:GetObject, s3:PutObject")


def test_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    one = only(root.check, bucket)
    assert (one.exit_code, one.cause) == (2, "there are no credentials")


@pytest.mark.parametrize(
    ("off_s", "says"), [(300, "ours is 300 s behind the store's"), (-300, "ours is 300 s ahead of the store's")]
)
def test_clocks_that_differ(bucket: str, monkeypatch: pytest.MonkeyPatch, off_s: int, says: str) -> None:
    began = datetime.now(UTC)
    theirs = format_datetime(began + timedelta(seconds=off_s), usegmt=True)
    with store_that_answers(200, EMPTY, Date=theirs) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        one = only(clock.check, bucket)
    assert one.level is Level.WARNING
    assert one.cause.split()[:2] == ["ours", "is"]
    # The answer's time was fixed before the question was asked, in whole seconds.
    passed_s = (datetime.now(UTC) - began).total_seconds()
    assert abs(int(one.cause.split()[2]) - 300) <= passed_s + 1.5
    assert one.cause.split()[4] == says.split()[4]


def test_clocks_that_agree_and_a_root_without_a_bucket(bucket: str, tmp_path: Path) -> None:
    assert only(clock.check, bucket).cause == "within 60 s of the store's"
    assert only(clock.check, str(tmp_path)).level is Level.OK


def test_images_on_s3(bucket: str) -> None:
    s3.put(BUCKET, "images/one.png", b"not empty")
    assert only(source.check, ".", f"s3://{BUCKET}/images").cause == "can be listed and read"
    missing = only(source.check, ".", f"s3://{BUCKET}/no-images")
    assert (missing.exit_code, missing.cause) == (3, "no object lies there")
    assert only(source.check, ".", "local/images").level is Level.OK
    assert only(source.check).level is Level.OK


def test_nothing_is_left_in_the_bucket(bucket: str) -> None:
    before = [one.key for one in s3.list_objects(BUCKET, "")]
    found(root.check, bucket)
    with trial(bucket):
        pass
    assert [one.key for one in s3.list_objects(BUCKET, "")] == before
