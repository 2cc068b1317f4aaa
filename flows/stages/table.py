"""The stages of the pipeline, in order: the only place that lists them."""

from typing import Any

from flows.stage import Stage
from flows.stages.evaluate.stage import EVALUATE
from flows.stages.prepare.stage import PREPARE
from flows.stages.report.stage import REPORT
from flows.stages.sample.stage import SAMPLE
from flows.stages.train.stage import TRAIN

STAGES: tuple[Stage[Any, Any], ...] = (PREPARE, TRAIN, SAMPLE, EVALUATE, REPORT)
