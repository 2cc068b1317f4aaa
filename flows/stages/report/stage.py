"""The stage `report`, as the pipeline sees it: the page of a run, which ends it."""

from collections.abc import Sequence

from flows.account import Account
from flows.artifacts import Artifact, Dataset, Figures, ReportPage, Samples, Snapshot
from flows.run_record import RECORD, TRACKING, FinishedRun
from flows.stage import Context, Stage
from infra.storage.store import Store


def _run(
    _config: None, dataset: Dataset, snapshot: Snapshot, samples: Samples, figures: Figures, context: Context
) -> ReportPage:
    from flows.stages.report.page import write_report

    run = context.run
    assert run is not None, "the run is named as soon as its data is listed"
    finished = FinishedRun(dataset=dataset, snapshot=snapshot, samples=samples, figures=figures)
    return ReportPage(folder=write_report(run.name, context.store, finished, run.links, run.recipe, context.costs))


def _account(_config: None, page: ReportPage, inputs: Sequence[Artifact], store: Store) -> Account:
    *_, figures = inputs
    assert isinstance(figures, Figures), "the stage's last input is the figures"
    names = (name.removeprefix(f"{page.folder}/") for name in store.list(page.folder))
    files = {name: store.read(f"{page.folder}/{name}") for name in names if name not in (RECORD, TRACKING)}
    where = f"{store.uri}/{page.folder}"
    return Account(
        line=f"{where}/report.html",
        metrics=figures.metrics,
        files=files,
        tags={"ddpm.report": f"{where}/report.html"},
        links={"report": f"{where}/report.html", "samples": f"{where}/samples.png"},
    )


REPORT = Stage(
    name="report",
    about="Show everything on one page.",
    inputs=("prepare", "train", "sample", "evaluate"),
    config=type(None),
    artifact=ReportPage,
    run=_run,
    account=_account,
    ends_run=True,
)
