"""The doctor names a real GPU, and says so if a variable hides it."""

import os
import subprocess
import sys

import pytest
import torch

from flows.doctor.check import Subject
from flows.doctor.checks.torch_build import check

pytestmark = pytest.mark.gpu

PROGRAM = """
from flows.doctor.check import Subject
from flows.doctor.checks.torch_build import check
print(*check(Subject(root="")))
"""


def test_the_gpu_is_named(gpu):
    (one,) = check(Subject(root=""))
    assert one.level == "ok"
    assert torch.cuda.get_device_name(0) in one.cause


def test_a_gpu_that_a_variable_hides(gpu):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert "CUDA_VISIBLE_DEVICES hides all of this machine's" in done.stdout
