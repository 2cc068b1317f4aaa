"""The share of samples that lie nearer to one training image than held-out images do, and the most suspicious pairs."""

from functools import partial

from torch import Tensor

from ddpm_core.metrics.memorisation import Memorisation, memorised_share, nearest_ratios
from ddpm_core.metrics.neighbours import Neighbours
from flows.artifacts import MEMORISED
from flows.metrics.choices import MetricName
from flows.metrics.features import check_count, compared_features, features_work
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.neighbours import NEIGHBOURS, neighbours_work
from flows.metrics.sides import Side, named_figure, rows_of
from flows.metrics.tensor_units import read_columns
from infra.digests import canonical_json
from infra.outputs.manifest import Manifest

_FEWEST = 2
# Pairs that are sealed for a reader to look at.
_PAIRS = 8


def _steps(subject: Subject) -> Steps:
    check_count("the share of memorised samples", NEIGHBOURS, [subject.reference])
    check_count("the share of memorised samples", _FEWEST, [subject.held_out])
    assert subject.held_out is not None, "it has images"
    sealed = yield [*compared_features(subject), features_work(subject, subject.held_out, label="held_out")]
    reference, samples, held_out = rows_of(subject, sealed)
    of_samples, of_held_out = yield [
        neighbours_work(subject, (Side.SAMPLES, samples), (Side.REFERENCE, reference)),
        neighbours_work(subject, (Side.HELD_OUT, held_out), (Side.REFERENCE, reference)),
    ]
    return partial(_measure, subject, of_samples, of_held_out)


def _measure(subject: Subject, of_samples: Manifest, of_held_out: Manifest) -> Measured:
    near, unseen = (_read(manifest, subject) for manifest in (of_samples, of_held_out))
    ratios, unseen_ratios = nearest_ratios(near), nearest_ratios(unseen)
    found = memorised_share(ratios, unseen_ratios)
    note = (
        f"share of {subject.samples_count} whose distance to the nearest of {subject.reference_count}, over the mean "
        f"of the {NEIGHBOURS} nearest, is as small as for {int((unseen_ratios <= found.limit).sum()):,} of "
        f"{len(unseen_ratios):,} held-out images; {found.expected:.2g} is expected without copies, which raise it"
    )
    return Measured(
        figures=[named_figure(subject, MetricName.MEMORISED.value, found.share, note)],
        files={MEMORISED: _most_alike(near, ratios, found)},
    )


def _read(manifest: Manifest, subject: Subject) -> Neighbours:
    columns = read_columns(manifest, subject.store)
    return Neighbours(squared_distances=columns["squared_distances"], rows=columns["rows"])


def _most_alike(near: Neighbours, ratios: Tensor, found: Memorisation) -> bytes:
    """The limit, and the samples with the smallest ratios, each with its nearest training image; numbers from 0."""
    pairs = [
        {
            "sample": number,
            "training_image": int(near.rows[number, 0]),
            "distance": float(near.squared_distances[number, 0]) ** 0.5,
            "ratio": float(ratios[number]),
        }
        for number in ratios.argsort(stable=True)[:_PAIRS].tolist()
    ]
    return canonical_json({"limit": found.limit, "pairs": pairs})


MEMORISED_SHARE: Metric = _steps
