"""Measuring a subject: figures in the table's order, sealed with what they rest on, under a key of all of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.artifacts import Figures
from flows.metrics.choices import MetricName
from flows.metrics.measuring import measure
from flows.metrics.metric import ImageSet, Subject
from flows.provenance import read_provenance
from flows.scoring.side import open_side
from infra.compute.units import Workers
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject
from tests.flows.scoring.test_score import config, drawn, saved


def measured(run: TinyRun, about: Subject, *chosen: MetricName) -> Figures:
    return measure(about, chosen, run.context, stage="score", format_version=1, workers=lambda _: Workers())


def test_figures_come_in_the_tables_order_and_name_what_they_rest_on(tiny_run: TinyRun) -> None:
    found = measured(tiny_run, subject(tiny_run), MetricName.KID, MetricName.FD)
    assert [figure.name for figure in found.figures if figure.headline] == ["fd_pixels", "kid_pixels"]
    of_distance, of_kernel = read_provenance(found.manifest(tiny_run.store))
    assert of_kernel.figures == ("kid_pixels",)
    assert of_distance.samples["digest"] == tiny_run.samples.digest
    assert measured(tiny_run, subject(tiny_run), MetricName.FD, MetricName.KID).reused


def test_both_data_sets_of_two_folders_are_named_by_their_role(tiny_run: TinyRun, tmp_path: Path) -> None:
    values, given = config()

    def opened(name: str, count: int, seed: int) -> ImageSet:
        folder = saved(tmp_path / name, drawn(count, seed))
        images = open_side(str(folder), name, values.prepare, given, tiny_run.context).images
        assert images is not None
        return images

    samples, reference = opened("samples", 12, 0), opened("reference", 13, 1)
    about = replace(subject(tiny_run), trained=None, held_out=None, samples=samples, reference=reference)
    (found,) = read_provenance(measured(tiny_run, about, MetricName.FD).manifest(tiny_run.store))
    for role, images, count in (("samples", samples, 12), ("reference", reference, 13)):
        assert found.datasets[role]["digest"] == images.images.digest
        assert found.datasets[role]["splits"] == {images.split: count}
    assert (found.data, len(found.datasets)) == ({}, 2)
    assert set(found.rules) == {"preparation", "features"}, "both were prepared alike"


def test_without_a_network_only_images_are_behind_a_figure(tiny_run: TinyRun) -> None:
    about = replace(subject(tiny_run), trained=None, held_out=None)
    (found,) = read_provenance(measured(tiny_run, about, MetricName.FD).manifest(tiny_run.store))
    assert found.data["digest"] == tiny_run.dataset.digest
    with pytest.raises(ConfigError, match="are needed for the gap of FLD"):
        measured(tiny_run, about, MetricName.FLD_GAP)
