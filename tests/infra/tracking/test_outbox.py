"""Each kind of delivery fails, pauses and heals by itself."""

import logging
import time
from collections.abc import Callable

import pytest

from infra.tracking.outbox import Outbox


class Line:
    """Calls that are noted, and fail while their name is among the broken ones."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.broken: set[str] = set()
        self.error: type[Exception] = RuntimeError

    def call(self, name: str) -> Callable[[], None]:
        def deliver() -> None:
            self.tried.append(name)
            if name in self.broken:
                raise self.error(f"{name} is broken\nand a second line")

        return deliver


@pytest.fixture
def line() -> Line:
    return Line()


def test_one_kind_fails_alone(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox("http://host", 60)
    line.broken = {"files"}
    for _ in range(2):
        outbox.put("files", "train", line.call("files"))
        outbox.put("metrics", "train", line.call("metrics"))
        outbox.send({"train"})
    assert line.tried == ["files", "metrics", "metrics"], "files pause, metrics do not"
    assert outbox.complaint == "MLflow at http://host did not take files (files is broken)"
    assert not outbox.is_empty("train")
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "files is broken; the work goes on" in warning.getMessage().replace(")", "")
    line.broken = set()
    outbox.send({"train"}, now=True)
    assert outbox.complaint == ""
    assert outbox.is_empty("train")


def test_without_a_connection_nothing_else_is_tried(line: Line) -> None:
    outbox = Outbox("http://host", 60)
    line.broken = {"connection"}
    outbox.put("connection", "run", line.call("connection"))
    outbox.put("connection", "train", line.call("later"))
    outbox.put("metrics", "train", line.call("metrics"))
    outbox.send({"train"})
    outbox.send({"train"})
    assert line.tried == ["connection"]
    assert outbox.complaint == "MLflow at http://host did not answer (connection is broken)"
    line.broken = set()
    outbox.send({"train"}, now=True)
    assert line.tried == ["connection", "connection", "later", "metrics"]


def test_a_server_that_is_gone_costs_one_call(line: Line) -> None:
    outbox = Outbox("http://host", 60)
    line.broken, line.error = {"metrics", "status"}, ConnectionError
    outbox.put("metrics", "train", line.call("metrics"))
    outbox.put("status", "train", line.call("status"))
    outbox.send({"train"})
    outbox.send({"train"})
    assert line.tried == ["metrics"]
    outbox.send({"train"}, now=True)
    assert line.tried == ["metrics", "status"], "one more, and the one that did not wait yet"
    line.broken = set()
    outbox.send({"train"}, now=True)
    assert outbox.complaint == ""


def test_a_gone_store_of_files_does_not_silence_the_server(line: Line) -> None:
    outbox = Outbox("http://host", 60)
    line.broken, line.error = {"files"}, ConnectionError
    outbox.put("files", "train", line.call("files"))
    outbox.put("metrics", "train", line.call("metrics"))
    outbox.send({"train"})
    assert line.tried == ["files", "metrics"]


def test_a_pause_ends_and_doubles(line: Line) -> None:
    outbox = Outbox("http://host", 0.2)
    line.broken = {"metrics"}
    started = time.monotonic()
    times = []
    outbox.put("metrics", "train", line.call("metrics"))
    while len(times) < 3:
        assert time.monotonic() - started < 10
        outbox.send({"train"})
        if len(line.tried) > len(times):
            times.append(time.monotonic() - started)
        time.sleep(0.005)
    first, second = times[1] - times[0], times[2] - times[1]
    assert first >= 0.19
    assert second >= 0.39
    line.broken = set()
    outbox.send({"train"}, now=True)
    line.broken = {"metrics"}
    outbox.put("metrics", "train", line.call("metrics"))
    outbox.send({"train"})
    time.sleep(0.25)
    before = len(line.tried)
    outbox.send({"train"})
    assert len(line.tried) == before + 1, "after a success the pause is as short as at first"


def test_one_that_always_fails_does_not_hold_up_the_next(line: Line) -> None:
    outbox = Outbox("http://host", 60)
    line.broken = {"too large"}
    outbox.put("files", "train", line.call("too large"))
    outbox.send({"train"})
    outbox.put("files", "sample", line.call("small"))
    outbox.send(None, now=True)
    assert line.tried == ["too large", "small", "too large"]
    assert "files" in outbox.complaint
    assert outbox.is_empty("sample")


def test_other_scopes_wait(line: Line) -> None:
    outbox = Outbox("http://host", 60)
    outbox.put("files", "train", line.call("train"))
    outbox.put("files", "sample", line.call("sample"))
    outbox.send({"sample"})
    assert line.tried == ["sample"]
    outbox.drop("files", "train")
    assert outbox.is_empty("train")


def test_the_line_names_all_that_failed(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox("http://host", 60)
    line.broken = {"metrics", "files", "connection"}
    for kind in ("files", "metrics"):
        outbox.put(kind, "train", line.call(kind))
    outbox.send({"train"})
    outbox.put("connection", "train", line.call("connection"))
    outbox.send({"train"})
    assert outbox.complaint == (
        "MLflow at http://host did not answer (connection is broken)"
        " and did not take metrics (metrics is broken), files (files is broken)"
    )
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("http://user:s3cr%2Bt@host/", "no answer from http://user:s3cr%2Bt@host"),
        ("http://user:s3cr%2Bt@host/", "login user:s3cr%2Bt@host refused"),
        ("http://user:s3cr%2Bt@host/", "the password s3cr+t is wrong"),
        ("http://user:s3cr%2Bt@host/", "the password s3cr%2Bt is wrong"),
        ("http://[user:s3cr+t@host", "no such host: http://[user:s3cr+t@host"),
    ],
)
def test_no_password_is_shown(uri: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise ConnectionError(text)

    outbox = Outbox(uri, 60)
    outbox.put("files", "train", refuse)
    outbox.send(None)
    assert "did not take files" in outbox.complaint
    assert "s3cr" not in outbox.complaint + caplog.text
