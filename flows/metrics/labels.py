"""The labels of held-out images that a likelihood is given: those of a network with classes, which some images lack."""

from flows.artifacts import held_out_without_label, untrained_classes
from flows.metrics.features import TooFewError
from flows.metrics.metric import Subject
from infra.outputs.images import NO_LABEL, DatasetReader


def is_conditional(subject: Subject) -> bool:
    """Tell whether the network has classes."""
    return bool(subject.snapshot.manifest(subject.store).facts["settings"]["class_conditional"])


def images_without_label(subject: Subject, images: int) -> int:
    """Count held-out images that a network with classes measures without a label: they have none that training has.

    Args:
        subject: Names the images and the network.
        images: How many held-out images are measured, from the first on.
    """
    if not is_conditional(subject):
        return 0
    manifest = subject.dataset.manifest(subject.store)
    if not held_out_without_label(manifest):
        return 0
    without = (*untrained_classes(manifest), NO_LABEL)
    _, labels = DatasetReader(store=subject.store, manifest=manifest).load("test", images)
    return sum(int(label) in without for label in labels)


def image_counts(subject: Subject, images: int) -> dict[str, int]:
    """Return the number of images that a likelihood is of, and how many of them have no label, by name."""
    unlabelled = images_without_label(subject, images)
    return {"bpd_images": images} | ({"bpd_images_without_label": unlabelled} if unlabelled else {})


def check_labels(subject: Subject) -> None:
    """Refuse to measure images without a label if the network never trained without one.

    Raises:
        TooFewError: If `train.label_dropout` was 0, and held-out images have no class of a training image.
    """
    settings = subject.snapshot.manifest(subject.store).facts.get("settings", {})
    if not settings.get("class_conditional") or settings.get("label_dropout") != 0:
        return
    if count := held_out_without_label(subject.dataset.manifest(subject.store)):
        raise TooFewError(
            f"{count:,} held-out images have no class of a training image, and the network never trained without a "
            "label (train.label_dropout)",
            item="evaluate.metrics",
            stage="evaluate",
            remedy="train with train.label_dropout above 0, such as 0.1, or leave the metric out",
        )
