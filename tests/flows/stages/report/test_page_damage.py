"""A name, a record or an output that is hostile, unknown or damaged changes no report."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.points import read_points
from flows.stages.report.page import rewrite_report, write_report
from infra.digests import canonical_json
from infra.errors import ConfigError, InputError, IntegrityError
from infra.storage.local_store import LocalStore
from tests.conftest import TinyRun
from tests.flows.stages.report.conftest import PLOTS, Page


class AnyName(LocalStore):
    """A store that would take any name for a report."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if name.startswith("reports/"):
            raise FileNotFoundError(name)
        return super().read(name, start, length)

    def list(self, prefix: str) -> list[str]:
        return [] if prefix.startswith("reports/") else super().list(prefix)

    def replace(self, name: str, data: bytes) -> None:
        if name.endswith("report.html"):
            (self.root / "page.html").write_bytes(data)

    def delete(self, name: str) -> None:
        pass


@pytest.mark.parametrize("hostile", ['</title><script>alert("1")</script>', "&lt;b onload=x&gt;"])
def test_a_hostile_name_is_refused_and_would_be_escaped(tiny_run: TinyRun, hostile: str) -> None:
    with pytest.raises(ConfigError):
        write_report(hostile, tiny_run.store, tiny_run.finished, {})
    write_report(hostile, AnyName(tiny_run.root), tiny_run.finished, {})
    page = Page((tiny_run.root / "page.html").read_text())
    assert hostile in page.texts, "shown as text, twice: title and heading"
    assert page.texts.count(hostile) == 2
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_hostile_settings_and_environments_are_escaped(tiny_run: TinyRun) -> None:
    """Names in a manifest may be anything."""
    path = tiny_run.root / tiny_run.samples.name
    manifest = tiny_run.samples.manifest(tiny_run.store)
    plan = manifest.plan | {"settings": manifest.plan["settings"] | {"note": "<script>alert(2)</script>"}}
    hostile = replace(manifest, plan=plan, environment={"device": "<script>alert(1)</script>"})
    path.write_bytes(canonical_json(hostile.as_json()))
    write_report("my-run", tiny_run.store, tiny_run.finished, {})
    page = Page(tiny_run.store.read("reports/my-run/report.html").decode())
    assert "script" not in {tag for tag, _ in page.tags}
    assert any("<script>alert(1)</script>" in text for text in page.texts)


def test_an_unknown_run_names_the_known_ones(tiny_run: TinyRun, written: str) -> None:
    with pytest.raises(InputError) as caught:
        rewrite_report("other", tiny_run.store)
    assert caught.value.exit_code == 3
    assert "my-run" in caught.value.remedy
    assert caught.value.item == "other"


def test_without_any_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ddpm run"):
        rewrite_report("x", LocalStore(tmp_path))


@pytest.mark.parametrize("name", ["../x", "a/../../b", "", "a\nb"])
def test_a_name_leads_nowhere_else(tiny_run: TinyRun, name: str) -> None:
    with pytest.raises(ConfigError):
        rewrite_report(name, tiny_run.store)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'{"dataset": {}}',
        b'{"dataset": 3}',
        b'{"dataset": {"class_names": 1}}',
        b"\xff",
    ],
)
def test_a_damaged_record_is_named(tiny_run: TinyRun, written: str, content: bytes) -> None:
    (tiny_run.root / "reports/my-run/run.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"run\.json") as caught:
        rewrite_report("my-run", tiny_run.store)
    assert caught.value.exit_code == 6


def test_a_damaged_output_is_not_reported(tiny_run: TinyRun, written: str) -> None:
    manifest = tiny_run.samples.manifest(tiny_run.store)
    file = tiny_run.root / manifest.folder / manifest.units[0]["file"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="differs from its digest"):
        rewrite_report("my-run", tiny_run.store)
    assert tiny_run.store.read("reports/my-run/report.html").decode() == written, "the old one stays"


def test_damaged_images_along_training_end_no_report(
    tiny_run: TinyRun, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = tiny_run.snapshot.manifest(tiny_run.store)
    last = read_points(manifest.facts)[-1]
    assert last.watch is not None
    (tiny_run.root / manifest.folder / last.watch["file"]).write_bytes(b"")
    rewrite_report("my-run", tiny_run.store)
    remark = f"Without the images at {last.images_seen:,} images seen, since their files are damaged or missing."
    page = tiny_run.store.read("reports/my-run/report.html").decode()
    assert f'<p class="quiet">{remark}</p>' in page
    assert caplog.messages == [f"report my-run: {remark}"]
    tables = [name for name in tiny_run.store.list("reports/my-run/plots") if name.endswith(".csv")]
    assert len(tables) == len(PLOTS), "every figure is in the manifest"
