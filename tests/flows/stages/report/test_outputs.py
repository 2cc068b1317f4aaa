"""The words of a report's data."""

import pytest

from flows.stages.report.outputs import loss_label, variance_words


@pytest.mark.parametrize(("loss", "label"), [("simple", "L_simple"), ("min_snr", "the min_snr loss")])
def test_a_loss_is_called_as_the_paper_calls_it(loss: str, label: str) -> None:
    assert loss_label(loss) == label


def test_variances_are_words() -> None:
    assert variance_words("fixed_small") == "fixed small"
