"""The small classifier whose features `fd_classifier` compares: trained once per data set, sealed by itself."""

import torch

from flows.artifacts import Dataset
from flows.stage import Context, Progress
from infra.compute.device import environment, fixed_threads
from infra.features.classifier import accuracy, train_classifier
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import encode_tensors

STAGE = "classifier"


def sealed_classifier(dataset: Dataset, *, threads: int, format_version: int, context: Context) -> Manifest:
    """Train the classifier in this process, or find it sealed; its key is the data alone.

    Args:
        dataset: To train on, with labels.
        threads: To train with; sums depend on them.
        format_version: Of the output.
        context: The outside world.
    """
    plan = Plan(
        stage=STAGE,
        format_version=format_version,
        settings={"threads": threads} if threads != 1 else {},
        inputs={"dataset": dataset.digest},
    )

    def make(output: Output) -> Manifest:
        context.on_progress(Progress(done=0, total=1, unit="units", phase="training the classifier"))
        return _train(output, dataset, threads)

    return context.sealed(plan, {}, environment("cpu"), make)[0]


def _train(output: Output, dataset: Dataset, threads: int) -> Manifest:
    with fixed_threads(threads):
        reader = DatasetReader(store=output.store, manifest=dataset.manifest(output.store))
        images, labels = (torch.from_numpy(array) for array in reader.load("train"))
        network = train_classifier(images, labels.long(), len(dataset.class_names))
        held_out, truth = (torch.from_numpy(array) for array in reader.load("test"))
        facts = {"held_out_accuracy": accuracy(network, held_out, truth.long())}
    about = {"channels": dataset.channels, "classes": len(dataset.class_names)}
    record = output.commit("units/000000", "safetensors", encode_tensors(network.state_dict(), about), facts)
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], facts)
