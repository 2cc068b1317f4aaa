"""The report is made of what was sealed, needs no other file, and runs nobody's script."""

import base64
import json
import re
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from flows.artifacts import number_text
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.page import has_report, rewrite_report, write_report
from infra.errors import InputError
from infra.storage.store import Store
from tests.conftest import TinyRun
from tests.flows.stages.report.conftest import PLOTS, Page, links


def test_its_files(tiny_run: TinyRun, written: str) -> None:
    names = tiny_run.store.list("reports")
    plots = [f"plots/{plot}.{kind}" for plot in PLOTS for kind in ("csv", "png")]
    others = ("provenance.json", "report.html", "run.json", "samples.png")
    assert names == [f"reports/my-run/{name}" for name in (*plots, *others)]
    for name in names:
        if name.endswith(".png"):
            Image.open(BytesIO(tiny_run.store.read(name))).load()


def test_the_provenance_beside_the_page_is_the_sealed_one(tiny_run: TinyRun, written: str) -> None:
    sealed = tiny_run.figures.manifest(tiny_run.store).facts["provenance"]
    assert json.loads(tiny_run.store.read("reports/my-run/provenance.json")) == sealed


def test_a_plot_that_is_no_longer_there_leaves_no_file(tiny_run: TinyRun, written: str) -> None:
    tiny_run.store.replace("reports/my-run/plots/sampler_steps.csv", b"of an earlier report")
    rewrite_report("my-run", tiny_run.store)
    assert not tiny_run.store.exists("reports/my-run/plots/sampler_steps.csv")
    assert tiny_run.store.exists("reports/my-run/plots/loss.csv")


def test_the_page_needs_nothing_else(written: str) -> None:
    page = Page(written)
    assert not re.search(r"https?:|url\(|@import|file:", written)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"} == set()
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 4 + len(PLOTS), "samples, nearest images, progress, the grids along training, and the plots"
    for source in sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        Image.open(BytesIO(base64.b64decode(data, validate=True))).load()
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not [1 for _, attributes in page.tags if "srcset" in attributes]


def test_the_numbers_of_each_plot_are_on_the_page(tiny_run: TinyRun, written: str) -> None:
    """A copy of the page alone still has them."""
    found = {}
    for tag, attributes in Page(written).tags:
        if tag == "a":
            kind, _, data = (attributes["href"] or "").partition(",")
            assert kind == "data:text/csv;base64"
            found[attributes["download"]] = base64.b64decode(data, validate=True)
    assert found == {f"{name}.csv": tiny_run.store.read(f"reports/my-run/plots/{name}.csv") for name in PLOTS}


def test_it_says_the_figures_and_where_they_come_from(tiny_run: TinyRun, written: str) -> None:
    text = " ".join(Page(written).texts)
    metrics = tiny_run.figures.metrics
    assert f"{metrics['eval/fd_pixels']:.5g}" in text
    for variance in ("fixed_small", "fixed_large"):
        figure, error = (metrics[f"eval/bits_per_dim_{variance}{suffix}"] for suffix in ("", "_stderr"))
        assert f"{number_text(figure, error)} ± {number_text(error, error)}" in text
    for artifact in (tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.figures):
        assert artifact.digest in text
        assert artifact.manifest(tiny_run.store).folder in text
    assert "17 different pixel values" in text
    assert "not an FID" in text
    assert '"num_timesteps": 20' in text


def test_written_again_it_is_the_same(tiny_run: TinyRun, written: str) -> None:
    names = tiny_run.store.list("reports")
    before = {name: tiny_run.store.read(name) for name in names}
    assert rewrite_report("my-run", tiny_run.store) == "reports/my-run"
    assert {name: tiny_run.store.read(name) for name in tiny_run.store.list("reports")} == before


def test_the_order_of_the_counts_changes_no_file(tiny_run: object, written: str) -> None:
    other = dict(reversed(tiny_run.figures.counts.items()))
    before = {name: tiny_run.store.read(name) for name in tiny_run.store.list("reports")}
    write_report(
        "my-run", tiny_run.store, replace(tiny_run.finished, figures=replace(tiny_run.figures, counts=other)), {}
    )
    assert {name: tiny_run.store.read(name) for name in tiny_run.store.list("reports")} == before


class _KilledError(BaseException):
    """No handler of the program's catches it, as none catches SIGKILL."""


class _Mortal:
    """A store whose program is killed before its n-th change."""

    def __init__(self, store: Store, changes: int) -> None:
        self._store, self._left = store, changes

    def __getattr__(self, name: str) -> object:
        real = getattr(self._store, name)
        if name not in {"delete", "put_if_absent", "replace"}:
            return real

        def change(*arguments: object) -> object:
            if self._left == 0:
                raise _KilledError
            self._left -= 1
            return real(*arguments)

        return change


def test_killed_at_any_write_the_report_is_there_the_old_one_or_the_new(
    tiny_run: TinyRun, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, names = tiny_run.store, tiny_run.store.list("reports")
    old = {name: store.read(name) for name in names}
    write_report("my-run", store, tiny_run.finished, ELSEWHERE)
    new = {name: store.read(name) for name in names}
    changed = {name.rpartition("/")[2] for name in names if old[name] != new[name]}
    assert changed == {"report.html", "run.json"}, "the pictures and numbers stay"
    outputs = read_outputs(store, tiny_run.finished)
    drawings = draw(outputs)  # once: drawing takes seconds, and each file is written forty times
    monkeypatch.setattr("flows.stages.report.page.read_outputs", lambda *_: outputs)
    monkeypatch.setattr("flows.stages.report.page.draw", lambda _: drawings)
    everything = len(names) + 1  # the last change removes the note that the run has begun
    for changes in range(everything):
        write_report("my-run", store, tiny_run.finished, {})
        with pytest.raises(_KilledError):
            write_report("my-run", _Mortal(store, changes), tiny_run.finished, ELSEWHERE)
        assert all(store.read(name) in (old[name], new[name]) for name in names)
    write_report("my-run", _Mortal(store, everything), tiny_run.finished, ELSEWHERE)
    assert {name: store.read(name) for name in names} == new


def test_a_lost_page_comes_back(tiny_run: TinyRun, written: str) -> None:
    tiny_run.store.delete("reports/my-run/report.html")
    rewrite_report("my-run", tiny_run.store)
    assert tiny_run.store.read("reports/my-run/report.html").decode() == written


def test_the_page_is_a_function_of_what_was_sealed(tiny_run: TinyRun, written: str) -> None:
    write_report("other-name", tiny_run.store, tiny_run.finished, {})
    other = tiny_run.store.read("reports/other-name/report.html").decode()
    assert other.replace("other-name", "my-run") == written


ELSEWHERE = {"Prefect": "http://127.0.0.1:4200/runs/flow-run/1?a=1&b=2", "MLflow": "https://mlflow.example/#/runs/2"}


def test_it_links_to_the_runs_other_pages_and_keeps_the_links(tiny_run: TinyRun) -> None:
    write_report("my-run", tiny_run.store, tiny_run.finished, ELSEWHERE)
    first = tiny_run.store.read("reports/my-run/report.html").decode()
    page = Page(first)
    assert links(page) == [{"href": address} for address in ELSEWHERE.values()]
    assert {"Prefect", "MLflow"} <= set(page.texts)
    tiny_run.store.delete("reports/my-run/report.html")
    rewrite_report("my-run", tiny_run.store)
    assert tiny_run.store.read("reports/my-run/report.html").decode() == first


def test_what_is_no_web_address_is_no_link(tiny_run: TinyRun) -> None:
    elsewhere = {"Bad": "javascript:alert(1)", "File": "file:///etc/passwd", '"><script>': 'http://x/"><script>'}
    write_report("my-run", tiny_run.store, tiny_run.finished, elsewhere)
    page = Page(tiny_run.store.read("reports/my-run/report.html").decode())
    assert links(page) == [{"href": 'http://x/"><script>'}]
    assert "script" not in {tag for tag, _ in page.tags}


def test_a_recipe_with_a_finished_run_is_known(tiny_run: TinyRun) -> None:
    write_report("my-run", tiny_run.store, tiny_run.finished, {}, "0123abcd")
    assert has_report(tiny_run.store, "0123abcd")
    assert not has_report(tiny_run.store, "0123abce")
    assert {name.split("/")[1] for name in tiny_run.store.list("reports")} == {"my-run"}, "it is no report itself"


def test_the_digits_of_its_key_name_a_run(tiny_run: TinyRun) -> None:
    for name in ("digits-1a2b3c4d", "digits-x=1-5e6f7a8b"):
        write_report(name, tiny_run.store, tiny_run.finished, {})
    assert rewrite_report("5e6f7a8b", tiny_run.store) == "reports/digits-x=1-5e6f7a8b"
    with pytest.raises(InputError, match="choose one of digits-1a2b3c4d, digits-x=1-5e6f7a8b"):
        rewrite_report("a2b3c4d", tiny_run.store)
