"""The collections that metrics of features compare, each by its name, and figures under the extractor's name."""

from collections.abc import Sequence
from enum import IntEnum

from ddpm_core.metrics.estimate import Estimate
from flows.artifacts import Figure
from flows.metrics.extractors import accuracy_of, extractor_label, is_published
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.metric import Subject
from infra.outputs.manifest import Manifest


class Side(IntEnum):
    """The collections; each has an order of its own in which random blocks are cut. Never renumber them."""

    REFERENCE = 0
    SAMPLES = 1
    HELD_OUT = 2


def rows_of(subject: Subject, sealed: Sequence[Manifest]) -> list[FeatureRows]:
    """Return readers of sealed features."""
    return [FeatureRows(manifest=manifest, store=subject.store) for manifest in sealed]


def named_figure(
    subject: Subject,
    name: str,
    found: Estimate,
    note: str,
    *,
    published: str = "",
    headline: bool = True,
) -> Figure:
    """Return the figure `<name>_<extractor>`.

    Args:
        subject: Names the extractor.
        name: Of the metric.
        found: Value and standard error.
        note: A description of the measure and its data.
        published: The figure's name if the features are those of published weights; empty if it has no other.
        headline: Whether it belongs in the short table at the end of a run.
    """
    assert subject.extractor is not None, "a metric of features says that it uses the setting `extractor`"
    full_name = f"{name}_{extractor_label(subject.extractor, subject.weights)}"
    if published and is_published(subject.extractor, subject.weights):
        full_name = published
    # The accuracy of a fitted extractor is a figure of its own; all else that is to be said, only a note can say.
    remark = "" if accuracy_of(subject.weights) else subject.about_features
    return Figure(
        name=full_name,
        value=found.value,
        standard_error=found.standard_error,
        terms=found.terms,
        label=full_name,
        note=f"{note}; {remark}" if remark else note,
        headline=headline,
    )
