"""Data sets of the Hugging Face Hub, from a server that answers as its API and its content network do."""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from infra.errors import ConfigError, DdpmError, InputError, IntegrityError, StorageError
from infra.sources.files.file_set import FileSet
from infra.sources.files.hub import HubPlace, hub_place
from infra.sources.kinds.folder import FolderSource
from tests.infra.sources.placed import placed
from tests.pictures import encoded, picture

FILES = {
    "data/train/cat/a.png": encoded(picture(1)),
    "data/train/dog/b.png": encoded(picture(2)),
    "data/test/dog/c.png": encoded(picture(3)),
    "data-notes.md": b"# Notes",
    ".gitattributes": b"*.png lfs",
}
LARGE = ".png"
COMMIT = "c" * 40


@dataclass
class Hub:
    """What the server has, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    is_silent: threading.Event | None = None
    page: int = 100


def stamp(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if name.endswith(LARGE) else hashlib.sha1(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.hub.asked.append((path, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        if self.hub.status:
            return self.answer(self.hub.status, b"{}", self.hub.headers)
        if path.startswith("/cdn/"):
            return self.content(self.hub.files[path.removeprefix("/cdn/")], {"ETag": '"of the network"'})
        if re.fullmatch(r"/api/datasets/me/pets/revision/(main|v1\.0)", path):
            return self.answer(200, json.dumps({"id": "me/pets", "sha": COMMIT}).encode())
        if found := re.fullmatch(rf"/api/datasets/me/pets/tree/{COMMIT}/?(.*)", path):
            return self.tree(found[1])
        if found := re.fullmatch(r"/datasets/me/pets/resolve/(main|v1\.0)/(.*)", path):
            return self.resolve(found[2])
        code = {"X-Error-Code": "RevisionNotFound" if "/me/pets/revision" in path else "RepoNotFound"}
        return self.answer(404, b"{}", code)

    def tree(self, folder: str) -> None:
        if self.hub.is_silent is not None:
            self.hub.is_silent.wait(30)
            self.close_connection = True
            return None
        start = f"{folder}/" if folder else ""
        names = [name for name in self.hub.files if name.startswith(start)]
        if not names:
            return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        items: list[dict[str, object]] = [{"type": "directory", "path": "data", "oid": "0" * 40, "size": 0}]
        for name in reversed(names):
            data = self.hub.files[name]
            item: dict[str, object] = {"type": "file", "path": name, "oid": stamp("", data), "size": len(data)}
            if name.endswith(LARGE):
                item["lfs"] = {"oid": stamp(name, data), "size": len(data), "pointerSize": 130}
            items.append(item)
        start_at = int((re.search(r"cursor=(\d+)", self.path) or [0, 0])[1])
        end, here = start_at + self.hub.page, f"http://{self.headers['Host']}{self.path.partition('&')[0]}"
        more = {"Link": f'<{here}&cursor={end}>; rel="next"'} if end < len(items) else {}
        return self.answer(200, json.dumps(items[start_at:end]).encode(), more)

    def resolve(self, name: str) -> None:
        if name not in self.hub.files:
            return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        data = self.hub.files[name]
        if name.endswith(LARGE):
            linked = {"X-Linked-Etag": f'"{stamp(name, data)}"', "Location": f"/cdn/{name}"}
            return self.answer(302, b"", linked)
        return self.content(data, {"ETag": f'W/"{stamp(name, data)}"'})

    def content(self, data: bytes, headers: dict[str, str]) -> None:
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            return self.answer(206, data[int(found[1]) : int(found[2]) + 1], headers)
        return self.answer(200, data, headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Handler,), {"hub": state})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts
        yield state
        server.shutdown()


def found(*sources: str) -> list[str]:
    return [file.name for file in FileSet(sources).find()]


def test_files_are_found_in_order_and_hidden_ones_left_out(hub: Hub) -> None:
    in_data = ["test/dog/c.png", "train/cat/a.png", "train/dog/b.png"]
    assert found("hf://datasets/me/pets") == ["data-notes.md", *(f"data/{name}" for name in in_data)]
    assert found("hf://datasets/me/pets/data") == in_data
    assert found("hf://datasets/me/pets@v1.0/data/train/*/*.png") == ["cat/a.png", "dog/b.png"]
    assert found("hf://datasets/me/pets@v1.0/data-notes.md") == ["data-notes.md"]
    assert {token for path, _, token in hub.asked if "me/pets" in path} == {"Bearer hf_secret"}


def test_the_images_of_a_data_set(hub: Hub) -> None:
    source = FolderSource(FileSet(("hf://datasets/me/pets/data",)))
    entries = placed(source)
    assert [(entry.split, entry.label) for entry in entries] == [("test", "dog"), ("train", "cat"), ("train", "dog")]
    assert list(source.read(entries)) == [FILES[f"data/{entry.name}"] for entry in entries]


@pytest.mark.parametrize("name", ["data/train/cat/a.png", "data-notes.md"])
def test_ranges_of_large_and_small_files(hub: Hub, name: str) -> None:
    files = FileSet(("hf://datasets/me/pets",))
    (file,) = (file for file in files.find() if file.name == name)
    assert file.stamp == stamp(name, FILES[name])
    assert files.read(file) == FILES[name]
    assert files.read(file, 2, 3) == FILES[name][2:5]
    assert files.read(file, 2, 10**6) == FILES[name][2:]
    with files.open(file) as opened:
        opened.seek(-4, 2)
        assert opened.read() == FILES[name][-4:]


@pytest.mark.parametrize("change", ["other bytes", "gone"])
@pytest.mark.parametrize("name", ["data/train/cat/a.png", "data-notes.md"])
def test_a_file_that_changed(hub: Hub, name: str, change: str) -> None:
    files = FileSet(("hf://datasets/me/pets",))
    (file,) = (file for file in files.find() if file.name == name)
    hub.files[name] = FILES[name][:-1] + b"?"
    if change == "gone":
        del hub.files[name]
    with pytest.raises(IntegrityError, match=f"{name}: changed since it was listed"):
        files.read(file)


REFUSED: dict[str, tuple[str, type[DdpmError], str]] = {
    "no such data set": (
        "hf://datasets/me/nothing",
        ConfigError,
        "is not there, or private - correct the name, or set HF_",
    ),
    "no such revision": ("hf://datasets/me/pets@v9", ConfigError, "has no such revision"),
    "no such folder": ("hf://datasets/me/pets/nothing", InputError, "is not there - correct the path"),
    "no match": ("hf://datasets/me/pets/data/*.jpg", InputError, "matches nothing"),
}


@pytest.mark.parametrize(("place", "kind", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_there(hub: Hub, place: str, kind: type[DdpmError], says: str) -> None:
    with pytest.raises(kind, match=says):
        found(place)


def test_conditions_that_nobody_accepted(hub: Hub) -> None:
    hub.status, hub.headers = 403, {"X-Error-Code": "GatedRepo"}
    with pytest.raises(
        ConfigError, match="accepted its conditions - accept its conditions on its page and set HF_TOKEN"
    ):
        found("hf://datasets/me/pets")


def test_a_hub_that_is_away(hub: Hub) -> None:
    hub.status = 503
    with pytest.raises(StorageError, match=r"the Hub does not answer \(.*\) - run again") as caught:
        found("hf://datasets/me/pets")
    assert "secret" not in str(caught.value)
    files = FileSet(("hf://datasets/me/pets",))
    hub.status = 0
    file = next(files.find())
    hub.status = 503
    with pytest.raises(StorageError, match="the Hub does not answer"):
        files.read(file)


def test_a_long_list_comes_in_pages(hub: Hub) -> None:
    whole, hub.page = found("hf://datasets/me/pets"), 2
    assert found("hf://datasets/me/pets") == whole
    assert sum("/tree/" in path for path, *_ in hub.asked) == 1 + 3


def test_a_hub_that_falls_silent_is_waited_for_within_bounds(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still names the commit, and then says nothing."""
    monkeypatch.setattr("infra.sources.files.hub._TIMEOUT_S", 0.2)
    hub.is_silent, begun = threading.Event(), time.monotonic()
    with pytest.raises(
        StorageError, match=r"pets: the Hub does not answer \(ReadTimeout while listing its files\) - run"
    ):
        found("hf://datasets/me/pets")
    hub.is_silent.set()
    assert time.monotonic() - begun < 10


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ConfigError, match=r"needs huggingface_hub, which is not installed - pip install 'ddpm-flows\[hf\]'"
    ):
        found("hf://datasets/me/pets")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hf://datasets/a/b", HubPlace("a/b", "main", "")),
        ("hf://datasets/a/b.c/", HubPlace("a/b.c", "main", "")),
        ("hf://datasets/a/b@v1.0/x/y", HubPlace("a/b", "v1.0", "x/y")),
        ("hf://datasets/a/b@refs/convert/parquet/default", HubPlace("a/b", "refs/convert/parquet", "default")),
    ],
)
def test_places(text: str, place: HubPlace) -> None:
    assert hub_place(text) == place


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://a/b", "hf://datasets/b", "hf://datasets/a/b/../c", "hf://datasets/a/b//c", "hf://t@datasets/a/b"],
)
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a data set of the Hugging Face Hub - give it as hf://datasets/OWNER"):
        hub_place(text)
