"""A class of held-out images alone: none of it is drawn, and the bound takes its images without a label, counted."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddpm_core.guidance import with_labels
from ddpm_core.rng import Stream
from flows.metrics.likelihood_inputs import Inputs, LikelihoodSettings
from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.prepare.preparation import prepare
from flows.stages.sample.sampling import sample
from flows.stages.sample.stage import SAMPLE
from flows.stages.train.training import train
from infra.errors import ConfigError
from infra.outputs.images import DatasetReader
from tests.conftest import revised
from tests.pictures import encoded, picture

HELD_OUT = {"0": 4, "2": 4, "5": 3}


def source(folder: Path) -> str:
    number = 0
    for split, classes in {"train": {"0": 9, "2": 9}, "test": HELD_OUT}.items():
        for name, count in classes.items():
            (folder / split / name).mkdir(parents=True)
            for _ in range(count):
                number += 1
                (folder / split / name / f"{number}.png").write_bytes(encoded(picture(number)))
    return str(folder)


def test_a_class_that_training_lacks(
    tiny: PipelineConfig, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    said: list[str] = []
    context = make_context(say=said.append)
    dataset = prepare(revised(tiny.prepare, {"kind": "folder", "source": source(tmp_path / "x")}), context)
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

    inputs = Inputs(
        settings=LikelihoodSettings(images=11, batch_size=11, seed=0, threads=1, device="cpu"),
        dataset=dataset.manifest(context.store),
        trained=snapshot.manifest(context.store),
        store=context.store,
    )
    batch = inputs.batch("test", 0, 11, Stream.NLL, 11)
    _, labels = DatasetReader(store=context.store, manifest=inputs.dataset).load("test")
    assert sorted(labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 3
    own = torch.from_numpy(labels).long()
    without = torch.tensor([3 if label == 2 else label for label in labels])
    t = torch.full((11,), 3)
    with torch.inference_mode():
        seen, expected, other = (
            model(batch.x_start, t)
            for model in (batch.model, *(with_labels(inputs.snapshot.network, given) for given in (without, own)))
        )
    assert torch.equal(seen, expected), "class 3 stands for no label"
    assert not torch.equal(seen, other), "else this shows nothing"

    settings = {"extractor": "pixels", "metrics": ["bits_per_dim"], "bpd_images": 64}
    figures = evaluate(revised(tiny.evaluate, settings), dataset, snapshot, samples, context)
    assert (figures.counts["bpd_images"], figures.counts["bpd_images_without_label"]) == (11, 3)
    (note,) = {figure.note for figure in figures.figures if figure.headline}
    assert "11 held-out images given their labels (3 without: no training image has their class)" in note
