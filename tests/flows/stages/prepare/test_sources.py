"""The source that a config names: its kind, and its places made absolute where they are local."""

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.inspection.inspection import inspect_source
from flows.stage import Context
from flows.stages.prepare.account import kind_line
from flows.stages.prepare.config import PrepareConfig, SourceKind
from flows.stages.prepare.preparation import find_data_key, prepare
from flows.stages.prepare.sources import open_source, source_inputs
from infra.errors import ConfigError, InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.digits import DigitsSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.listing.listing import listed
from infra.sources.pair import Pair
from infra.sources.recognition.marks import NOUNS
from infra.sources.source import Other
from tests.flows.stages.prepare.layouts.bytes import png, put, zipped
from tests.infra.sources.formats.archives import ZIP

KINDS = [kind for kind in SourceKind if kind not in (SourceKind.AUTO, SourceKind.DIGITS)]


def places(source: str | list[str]) -> tuple[str, ...]:
    opened = open_source(PrepareConfig(kind="folder", source=source), "/root").source
    files = vars(opened)["files"]
    assert isinstance(files, FileSet)
    return files.sources


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_source_of_its_own(kind: str) -> None:
    opened = open_source(PrepareConfig(kind=kind, source="/a"), "/root").source
    assert type(opened).__module__ == f"infra.sources.kinds.{kind}"
    assert pickle.loads(pickle.dumps(opened)) == opened, "it is sent to the workers"


def test_the_digits_need_no_place() -> None:
    assert open_source(PrepareConfig(kind="digits"), "/root").source == DigitsSource()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["", []])
def test_all_others_do(kind: str, source: str | list[str]) -> None:
    with pytest.raises(InputError, match="is not set") as caught:
        open_source(PrepareConfig(kind=kind, source=source), "/root")
    assert caught.value.item == "prepare.source"
    assert SourceKind(kind).description in caught.value.cause
    assert "--set prepare.source=" in caught.value.remedy


def test_every_kind_is_recognised_by_a_mark() -> None:
    assert set(NOUNS) == set(KINDS)


def test_a_found_kind_is_the_same_as_a_named_one(tmp_path: Path) -> None:
    (tmp_path / "photos.dat").write_bytes(ZIP)
    found = open_source(PrepareConfig(source=str(tmp_path)), "/root")
    named = open_source(PrepareConfig(source=str(tmp_path), kind="zip"), "/root")
    assert found.config == named.config
    assert (found.why, named.why) == ("1 zip archive (photos.dat)", "")
    keys = {find_data_key(PrepareConfig(source=str(tmp_path), **kind), "/root") for kind in ({}, {"kind": "zip"})}
    assert len(keys) == 1
    tarred = PrepareConfig(source=str(tmp_path), kind="tar")
    with pytest.raises(InputError, match=r"holds no images \(left out: 1 \.dat\) of the kind tar \(tar archives"):
        find_data_key(tarred, "/root")


def test_local_places_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers may run in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert places("images") == (f"{tmp_path}/images",)
    assert places("~/images") == ("/home/me/images",)
    assert places(["/a", "b/*.png"]) == ("/a", f"{tmp_path}/b/*.png")
    assert places("/a/[x]/**/?.png") == ("/a/[x]/**/?.png",)


@pytest.mark.parametrize("uri", ["s3://bucket/a", "s3://bucket/a/", "s3://bucket", "s3://bucket/a/*.tar"])
def test_uris_stay_as_they_are(uri: str) -> None:
    assert places(uri) == (uri,)


@pytest.mark.parametrize(
    "uri", ["gs://bucket/x", "https://host/x.zip", "s3://", "s3://Bad_Bucket/x", "~no-such-user/x"]
)
def test_other_places_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(PrepareConfig(source=["/a", uri]), "/root")
    assert caught.value.exit_code == 2
    assert uri in caught.value.item


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(PrepareConfig(source="s3://key:secret@bucket/x"), "/root")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "inputs"),
    [
        ("/data/photos", {"photos": "/data/photos"}),
        ("s3://bucket/photos/", {"photos": "s3://bucket/photos/"}),
        ("/data/photos/**/*.png", {"photos": "/data/photos/**/*.png"}),
        ("s3://bucket", {"bucket": "s3://bucket"}),
        (["/a/cats", "/a/dogs"], {"cats": "/a/cats", "dogs": "/a/dogs"}),
        (["/a/train", "/b/train"], {"/a/train": "/a/train", "/b/train": "/b/train"}),
    ],
)
def test_inputs_are_named_after_their_places(source: str | list[str], inputs: dict[str, str]) -> None:
    found = source_inputs(PrepareConfig(source=source), "k" * 20, "source")
    assert {one.name: one.uri for one in found} == inputs
    assert {(one.digest, one.purpose) for one in found} == {("k" * 20, "source")}


def test_the_held_out_source_is_an_input_too() -> None:
    config = PrepareConfig(source="/a/photos", test_source=["/b/photos", "/c/new"])
    found = source_inputs(config, "k", "source")
    assert {one.name: one.uri for one in found} == {
        "/a/photos": "/a/photos",
        "/b/photos": "/b/photos",
        "new": "/c/new",
    }


@pytest.mark.parametrize(("setting", "other"), [("source", "test_source"), ("test_source", "source")])
def test_neither_source_holds_the_outputs(tmp_path: Path, setting: str, other: str) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    config = PrepareConfig(**{setting: str(tmp_path / "a"), other: str(tmp_path / "b")})
    with pytest.raises(ConfigError, match=rf"inside prepare\.{setting} -") as caught:
        open_source(config, f"{tmp_path}/a/root")
    assert "choose another --root" in caught.value.remedy


def test_a_held_out_source_makes_a_pair_of_its_kind() -> None:
    opened = open_source(PrepareConfig(kind="zip", source="/a", test_source="/b"), "/root").source
    assert isinstance(opened, Pair)
    assert {type(opened.train), type(opened.test)} == {ZipSource}
    assert pickle.loads(pickle.dumps(opened)) == opened, "it is sent to the workers"


def test_tables_of_splits_are_not_read_for_a_pair(tmp_path: Path) -> None:
    """Each of the two sources is a split, so a broken table of splits ends nothing."""
    for name in ("a/1.png", "a/splits.csv", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff")
    config = PrepareConfig(kind="folder", source=f"{tmp_path}/a", test_source=f"{tmp_path}/b")
    assert Other("splits.csv") in open_source(config).source.find()
    with (
        pytest.raises(InputError, match="cannot be read"),
        listed(open_source(PrepareConfig(source=config.source)).source),
    ):
        pass


def test_a_folder_beside_an_archive_is_read_as_two_kinds(tmp_path: Path, make_context: Callable[..., Context]) -> None:
    """The line, the manifest and the inspection name both."""
    put(tmp_path / "a", {f"{n}.png": png(n) for n in range(4)})
    put(tmp_path, {"b.zip": zipped({f"{n}.png": png(n + 9) for n in range(2)})})
    config = PrepareConfig(source=str(tmp_path / "a"), test_source=str(tmp_path / "b.zip"), image_size=8)
    context = make_context()
    facts = prepare(config, context).manifest(context.store).facts
    assert kind_line(facts) == "read as folder, held-out images as zip"
    found = inspect_source(config, lambda _count: None)
    assert found.kind_line == "folder: 4 image files; held-out images zip: 1 zip archive (b.zip)"
    assert (found.as_json()["test_kind"], found.as_json()["test_kind_from"]) == ("zip", "1 zip archive (b.zip)")


def test_the_digits_come_from_code_that_is_there() -> None:
    (one,) = source_inputs(PrepareConfig(kind="digits"), "k", "source")
    kind, _, name = one.uri.partition(":")
    module, _, function = name.rpartition(".")
    assert kind == "code"
    assert callable(getattr(importlib.import_module(module), function))


def test_a_long_list_of_places_is_cut() -> None:
    assert len(source_inputs(PrepareConfig(source=[f"/a/{n}" for n in range(99)]), "k", "source")) == 20
