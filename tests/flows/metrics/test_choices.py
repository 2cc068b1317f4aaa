"""The options of the evaluation: each with a line, and at hand without torch."""

import subprocess
import sys

import pytest

from ddpm_core.choices import Choice
from flows.metrics.choices import ExtractorName, MetricName
from flows.stages.evaluate.config import EvaluateConfig


@pytest.mark.parametrize("member", [*ExtractorName, *MetricName], ids=repr)
def test_each_has_a_line_and_uses_settings_that_exist(member: Choice) -> None:
    assert member.description
    assert not member.description.endswith(".")
    assert set(member.uses) <= EvaluateConfig.model_fields.keys()


def test_they_cost_no_torch() -> None:
    program = "import sys, flows.metrics.choices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
