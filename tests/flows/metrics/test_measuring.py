"""Measuring a subject: figures in the table's order, sealed with what they rest on, under a key of all of it."""

from dataclasses import replace

import pytest

from flows.artifacts import Figures
from flows.metrics.choices import MetricName
from flows.metrics.measuring import measure
from flows.metrics.metric import Subject
from flows.provenance import read_provenance
from infra.compute.units import Workers
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def measured(run: TinyRun, about: Subject, *chosen: MetricName) -> Figures:
    return measure(about, chosen, run.context, stage="score", format_version=1, workers=lambda _: Workers())


def test_figures_come_in_the_tables_order_and_name_what_they_rest_on(tiny_run: TinyRun) -> None:
    found = measured(tiny_run, subject(tiny_run), MetricName.KID, MetricName.FD)
    assert [figure.name for figure in found.figures if figure.headline] == ["fd_pixels", "kid_pixels"]
    of_distance, of_kernel = read_provenance(found.manifest(tiny_run.store))
    assert of_kernel.figures == ("kid_pixels",)
    assert of_distance.samples["digest"] == tiny_run.samples.digest
    assert measured(tiny_run, subject(tiny_run), MetricName.FD, MetricName.KID).reused


def test_without_a_network_only_images_are_behind_a_figure(tiny_run: TinyRun) -> None:
    about = replace(subject(tiny_run), trained=None, held_out=None)
    (found,) = read_provenance(measured(tiny_run, about, MetricName.FD).manifest(tiny_run.store))
    assert found.data["digest"] == tiny_run.dataset.digest
    with pytest.raises(ConfigError, match="the gap of FLD needs"):
        measured(tiny_run, about, MetricName.FLD_GAP)
