"""A subject gives each metric those settings that enter the metric's key, and no others."""

from collections.abc import Sequence
from dataclasses import replace

from flows.metrics.features import features_work
from flows.metrics.metric import Measured, Steps, run_metrics
from flows.metrics.together import Work
from infra.outputs.manifest import Manifest
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def test_the_key_of_some_settings_leaves_out_the_others(tiny_run: TinyRun) -> None:
    about = subject(tiny_run, {"seed": 3, "threads": 2})
    assert about.key_of(["seed", "batch_size"]) == {"seed": 3, "batch_size": 8}
    assert about.key_of(["unheard_of"]) == {}
    assert "bpd_draws" in about.settings, "a setting at its default is known"
    assert about.key_of(["bpd_draws"]) == {}, "and in no key"


def test_metrics_step_together_and_share_what_is_sealed(tiny_run: TinyRun) -> None:
    """Two metrics of different length: each output is sealed in one call, and each is sent its own manifests."""
    calls: list[list[str]] = []
    about = subject(tiny_run)
    works = {
        split: features_work(about, replace(about.samples, images=tiny_run.dataset, split=split), label=split)
        for split in ("train", "test")
    }

    def seal(needed: Sequence[Work]) -> list[Manifest]:
        calls.append([work.label for work in needed])
        return [
            Manifest(
                stage=work.label, key="", folder="", goal={}, units=[], facts={}, digest="", plan={}, environment={}
            )
            for work in needed
        ]

    def metric(*steps: list[str]) -> Steps:
        seen = []
        for step in steps:
            sealed = yield [works[split] for split in step]
            seen += [manifest.stage for manifest in sealed]
        return lambda: Measured(figures=[], counts={name: 1 for name in seen})

    outputs, measures = run_metrics([metric(["train"], ["test"]), metric(["test", "train"]), metric()], seal)
    assert calls == [["train", "test"], ["test"], []]
    assert list(outputs) == ["train", "test"]
    assert [list(measure().counts) for measure in measures] == [["train", "test"], ["test", "train"], []]
