"""FID's features as a kind of extractor."""

from infra.features.inception.kind import INCEPTION
from infra.features.inception.layers import FEATURE_DIM
from infra.features.inception.weights import PUBLISHED


def test_it_takes_the_published_files_and_learns_nothing() -> None:
    assert INCEPTION.fit is None
    assert INCEPTION.file is not None
    assert INCEPTION.file.published == PUBLISHED
    assert {len(digest) for digest in PUBLISHED} == {64}


def test_the_sums_over_a_unit_are_no_larger_than_its_features() -> None:
    """Units smaller than the width would store more than the features themselves, in float64."""
    images = 1024 * INCEPTION.unit_chunks
    assert images >= FEATURE_DIM
