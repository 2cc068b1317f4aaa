"""The account of the page, which ends the run."""

import json
from dataclasses import replace

import pytest

from flows.artifacts import ReportPage
from flows.run_identity import RunIdentity
from flows.stages.report.stage import REPORT
from tests.conftest import TinyRun


@pytest.fixture
def page(tiny_run: TinyRun) -> ReportPage:
    context = replace(
        tiny_run.context, run=RunIdentity(name="digits-1a2b3c4d", recipe="key", links={"MLflow": "http://m"})
    )
    artifacts = tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.figures
    return REPORT.run(None, *artifacts, context)


def test_it_carries_figures_files_and_links(tiny_run: TinyRun, page: ReportPage) -> None:
    inputs = tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.figures
    account = REPORT.account(None, page, inputs, tiny_run.store)
    where = f"{tiny_run.store.uri}/reports/digits-1a2b3c4d"
    assert page.folder == "reports/digits-1a2b3c4d"
    assert account.line == account.tags["ddpm.report"] == f"{where}/report.html"
    assert account.links == {"report": f"{where}/report.html", "samples": f"{where}/samples.png"}
    assert account.metrics == tiny_run.figures.metrics
    assert b"http://m" in account.files["report.html"]
    assert account.files["samples.png"].startswith(b"\x89PNG")
    assert "run.json" not in account.files
    for plot in ("figures", "loss", "bound_by_timestep", "rate_distortion"):
        assert account.files[f"plots/{plot}.png"].startswith(b"\x89PNG")
        assert b"," in account.files[f"plots/{plot}.csv"].splitlines()[0]
    assert json.loads(account.files["provenance.json"])[0]["data"]["digest"] == tiny_run.dataset.digest


def test_it_ends_the_run_and_has_no_settings() -> None:
    assert REPORT.ends_run
    assert REPORT.config is type(None)
