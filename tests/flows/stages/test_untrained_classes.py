"""Held-out images of a class that training lacks, or of none: the bound takes them without a label, counted."""

import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch

from ddpm_core.guidance import with_labels
from ddpm_core.rng import Stream
from flows.artifacts import Dataset, Snapshot
from flows.exchange.choices import ExportSplit
from flows.exchange.png_folder import write_pngs
from flows.exchange.selection import Selection
from flows.exchange.tar_file import write_tar
from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import accuracy_of, sealed_weights
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.prepare.preparation import prepare
from flows.stages.sample.sampling import sample
from flows.stages.sample.stage import SAMPLE
from flows.stages.train.training import train
from infra.errors import ConfigError
from infra.outputs.images import NO_LABEL, DatasetReader
from tests.conftest import revised
from tests.pictures import encoded, picture

HELD_OUT = {"0": 4, "2": 4, "5": 3}


def source(folder: Path, held_out: dict[str, int]) -> str:
    number = 0
    for split, classes in {"train": {"0": 9, "2": 9}, "test": held_out}.items():
        for name, count in classes.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                number += 1
                (folder / split / name / f"{number}.png").write_bytes(encoded(picture(number)))
    return str(folder)


def test_a_class_that_training_lacks(
    tiny: PipelineConfig, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    said: list[str] = []
    context = make_context(say=said.append)
    dataset = prepare(revised(tiny.prepare, {"kind": "folder", "source": source(tmp_path / "x", HELD_OUT)}), context)
    assert dataset.class_names == ("0", "2", "5")
    assert dataset.untrained_classes(context.store) == (2,)
    snapshot = train(revised(tiny.train, {"class_conditional": True}), dataset, context)

    samples = sample(tiny.sample, snapshot, context)
    _, drawn = DatasetReader(store=context.store, manifest=samples.manifest(context.store)).load("samples")
    assert set(drawn.tolist()) == {0, 1}
    assert "   sample 1 classes without a training image are not drawn" in said
    for refuse in (
        lambda config: sample(config, snapshot, context),
        lambda config: SAMPLE.settle(config, dataset, context),
    ):
        with pytest.raises(ConfigError, match=r"sample\.label: class 2 has no training image"):
            refuse(revised(tiny.sample, {"label": 2}))

    assert_without_label(dataset, snapshot, context, label=2, no_label=3)
    settings = {"extractor": "pixels", "metrics": ["bits_per_dim"], "bpd_images": 64}
    figures = evaluate(revised(tiny.evaluate, settings), dataset, snapshot, samples, context)
    assert (figures.counts["bpd_images"], figures.counts["bpd_images_without_label"]) == (11, 3)
    (note,) = {figure.note for figure in figures.figures if figure.headline}
    assert "11 held-out images given their labels (3 without, as none has a class of a training image)" in note


def test_held_out_images_without_a_class(
    tiny: PipelineConfig, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    context = make_context()
    made = source(tmp_path / "x", {"0": 4, "2": 4, "": 3})
    dataset = prepare(revised(tiny.prepare, {"kind": "folder", "source": made}), context)
    assert (dataset.class_names, dataset.untrained_classes(context.store)) == (("0", "2"), ())
    snapshot = train(revised(tiny.train, {"class_conditional": True}), dataset, context)
    samples = sample(tiny.sample, snapshot, context)
    assert_without_label(dataset, snapshot, context, label=NO_LABEL, no_label=2)
    settings = {"extractor": "pixels", "metrics": ["bits_per_dim"], "bpd_images": 64}
    figures = evaluate(revised(tiny.evaluate, settings), dataset, snapshot, samples, context)
    assert (figures.counts["bpd_images"], figures.counts["bpd_images_without_label"]) == (11, 3)
    accuracy = accuracy_of(sealed_weights(ExtractorName.CLASSIFIER, dataset, threads=1, context=context))
    assert accuracy is not None
    assert (accuracy.images, accuracy.largest_class) == (8, 4), "an image without a class is neither right nor wrong"

    reader = DatasetReader(store=context.store, manifest=dataset.manifest(context.store))
    exported = Selection(reader=reader, split=ExportSplit.TEST, class_names=("cat", "dog"))
    write_pngs(tmp_path, exported, set(), lambda _: None)
    rows = (tmp_path / "metadata.csv").read_text().splitlines()
    assert Counter(row.partition(",")[2] for row in rows[1:]) == {"0,cat": 4, "1,dog": 4, ",": 3}
    write_tar(packed := BytesIO(), exported, b"{}", lambda _: None)
    with tarfile.open(fileobj=BytesIO(packed.getvalue())) as archive:
        assert Counter(name[-3:] for name in archive.getnames()) == {"png": 11, "cls": 8}


def test_no_bound_rests_on_a_label_that_never_trained(
    tiny: PipelineConfig, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    context = make_context()
    made = source(tmp_path / "x", {"": 3})
    dataset = prepare(revised(tiny.prepare, {"kind": "folder", "source": made}), context)
    without_dropout = revised(tiny.train, {"class_conditional": True, "label_dropout": 0})
    said: list[str] = []
    snapshot = train(without_dropout, dataset, replace(context, say=said.append))
    assert any("with train.label_dropout=0 their bits/dim along the way mean nothing" in line for line in said)
    samples = sample(tiny.sample, snapshot, context)
    settings = {"extractor": "auto", "metrics": ["fd", "bits_per_dim"], "bpd_images": 64}
    figures = evaluate(revised(tiny.evaluate, settings), dataset, snapshot, samples, context)
    assert "the network never trained without a label" in figures.left_out["bits_per_dim"]
    snapshot = train(revised(tiny.train, {"class_conditional": True}), dataset, context)
    samples = sample(tiny.sample, snapshot, context)
    figures = evaluate(revised(tiny.evaluate, settings), dataset, snapshot, samples, context)
    notes = {figure.name: figure.note for figure in figures.figures if figure.headline}
    assert (
        "3 held-out images without labels, as none has a class of a training image" in notes["bits_per_dim_fixed_small"]
    )
    assert "its accuracy is not known: no held-out image has a class" in notes["fd_classifier"]


def assert_without_label(dataset: Dataset, snapshot: Snapshot, context: Context, *, label: int, no_label: int) -> None:
    """The bound measures three images, those with a label that training lacks, as images without a label."""
    inputs = Inputs(
        settings=LikelihoodSettings(images=11, batch_size=11, seed=0, threads=1, device="cpu"),
        dataset=dataset.manifest(context.store),
        trained=snapshot.manifest(context.store),
        store=context.store,
    )
    batch = inputs.batch("test", 0, 11, Stream.NLL, 11)
    _, labels = DatasetReader(store=context.store, manifest=inputs.dataset).load("test")
    assert sorted(labels.tolist()) == sorted([0] * 4 + [1] * 4 + [label] * 3)
    own = torch.from_numpy(labels).long().clamp(min=0)
    without = torch.tensor([no_label if one == label else one for one in labels])
    t = torch.full((11,), 3)
    with torch.inference_mode():
        seen, expected, other = (
            model(batch.x_start, t)
            for model in (batch.model, *(with_labels(inputs.snapshot.network, given) for given in (without, own)))
        )
    assert torch.equal(seen, expected), "this class stands for no label"
    assert not torch.equal(seen, other), "else this shows nothing"
