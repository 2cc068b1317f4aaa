"""A point's figures against closed forms, and the same for every way to cut the work."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_core.choices import Loss, Parameterisation
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.objective import Objective
from ddpm_core.schedule import linear_schedule
from flows.stages.train.watch.measurement import LOSS_TIMESTEPS, Measured, loss_timesteps, run_to_end
from tests.flows.stages.train.watch.subjects import (
    DATA_VARIANCE,
    SCHEDULE,
    grey_images,
    measurement,
    trained,
)
from tests.oracles.denoisers import optimal_eps_mse

IMAGES = grey_images(400)


class _Reader:
    """A data set of one file with these training images."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.numpy()

    def units(self, _split: str) -> list[dict[str, Any]]:
        return [{"rows": len(self.images), "facts": {"split": "train"}}]

    def load_unit(self, _unit: object) -> tuple[Any, Any]:
        return self.images, np.zeros(len(self.images), np.int32)


def test_the_loss_of_the_best_denoiser_is_known() -> None:
    figures = run_to_end(measurement(IMAGES).measure(trained())).figures
    at = loss_timesteps(100)
    assert at.tolist() == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    expected = optimal_eps_mse(SCHEDULE.alphas_cumprod, DATA_VARIANCE)[at]
    for value, error, known in zip(figures.losses, figures.losses_stderr, expected.tolist(), strict=True):
        assert value is not None
        assert error is not None
        assert abs(value - known) < 4 * error
        assert error < 0.05 * known + 1e-3, "too noisy to show anything"
    assert figures.loss == pytest.approx(float(np.mean(figures.losses)))
    assert (figures.objective, figures.samples, figures.fd_pixels) == (None, 0, None)


def test_the_bound_is_that_of_the_full_sum() -> None:
    """Against all terms of other images of the same distribution, with noise of their own."""
    figures = run_to_end(measurement(IMAGES).measure(trained())).figures
    other = grey_images(400, seed=9).double() / 127.5 - 1
    drawn = torch.Generator().manual_seed(1)
    full = bits_per_dim(
        trained().network, SCHEDULE, other, noise=lambda _: torch.randn(other.shape, generator=drawn).double()
    ).total_bpd
    assert figures.bits_per_dim is not None
    assert figures.bits_per_dim_stderr is not None
    error = float(full.var() / 400 + figures.bits_per_dim_stderr**2) ** 0.5
    assert abs(figures.bits_per_dim - float(full.mean())) < 4 * error
    assert error < 0.01 * figures.bits_per_dim, "too noisy to show anything"


@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_the_figures_do_not_depend_on_the_slices(batch_size: int) -> None:
    """Neither on the batches nor on what else ran between two slices."""
    once = run_to_end(measurement(IMAGES[:50]).measure(trained()))
    torch.manual_seed(batch_size)
    slices = measurement(IMAGES[:50], batch_size=batch_size).measure(trained())
    again = None
    while again is None:
        try:
            next(slices)
            torch.rand(3)
        except StopIteration as end:
            again = end.value
    assert isinstance(again, Measured)
    for name, tensor in once.tensors.items():
        torch.testing.assert_close(again.tensors[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_noise_is_that_of_an_images_number() -> None:
    """The same image under another number has other noise; under its own it has the same beside other images."""
    whole = run_to_end(measurement(IMAGES[:8]).measure(trained())).tensors
    subject = measurement(IMAGES[:8])
    alone = replace(subject, watched=replace(subject.watched, images=IMAGES[3:4], ids=torch.tensor([15])))
    for name in ("losses", "bits_per_dim"):
        found = run_to_end(alone.measure(trained())).tensors[name]
        torch.testing.assert_close(found, whole[name][3:4], rtol=1e-4, atol=1e-5)
    other = replace(alone, watched=replace(alone.watched, ids=torch.tensor([16])))
    moved = run_to_end(other.measure(trained())).tensors["losses"]
    assert not torch.allclose(moved, whole["losses"][3:4], rtol=1e-2)


def test_a_slice_is_one_network_batch() -> None:
    subject, network = measurement(IMAGES[:100], reader=_Reader(IMAGES), batch_size=32), trained()
    calls = [0]
    for _ in subject.measure(network, samples=40):
        calls.append(network.network.calls)
        assert not torch.is_inference_mode_enabled(), "training goes on between two slices"
    at_once = np.diff(calls)
    assert at_once.max() == 8, "the bound's: eight calls with an eighth of the images"
    losses = LOSS_TIMESTEPS * 4
    assert (at_once[:losses] == 1).all()
    assert (at_once[losses : losses + 25] == 8).all()
    assert (at_once[losses + 25 :] <= 1).all()


def test_the_distance_of_one_constant_image_is_known() -> None:
    """|mean - 0.5|^2 + the trace of the covariance of the training images, if all samples are equal."""
    constant = trained(
        lambda x_t, t: torch.zeros_like(x_t), schedule=linear_schedule(30), parameterisation=Parameterisation.X_START
    )
    training = grey_images(300, seed=2)
    measured = run_to_end(measurement(IMAGES[:4], reader=_Reader(training)).measure(constant, samples=40))
    features = (training.double() / 255).flatten(1)
    drawn = 128 / 255  # 127.5 rounds to even
    expected = ((features.mean(0) - drawn) ** 2).sum() + features.var(0).sum()
    assert measured.figures.fd_pixels == pytest.approx(float(expected), rel=1e-6)
    assert measured.figures.fd_pixels_stderr == pytest.approx(0, abs=1e-9), "equal samples have no spread"
    assert measured.figures.samples == 40
    assert measured.tensors["grid"].shape == (16, 1, 4, 4)
    assert (measured.tensors["grid"] == 128).all()


def test_few_samples_have_no_error() -> None:
    reader = _Reader(grey_images(100))
    figures = run_to_end(measurement(IMAGES[:4], reader=reader).measure(trained(), samples=16)).figures
    assert figures.fd_pixels is not None
    assert figures.fd_pixels_stderr is None


def test_classes_condition_the_network_and_the_grid_takes_them_in_turn() -> None:
    seen: list[list[int]] = []

    def denoise(x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        seen.append(labels.tolist())
        return torch.zeros_like(x_t)

    run_to_end(measurement(IMAGES[:6]).measure(trained(denoise, classes=4)))
    assert seen[0] == [0, 1, 2, 0, 1, 2]
    assert seen[-1] == [number % 3 for number in range(16)]


def test_another_loss_of_training_is_measured_too() -> None:
    objective = Objective(loss=Loss.BOUND)
    figures = run_to_end(measurement(IMAGES, objective=objective).measure(trained())).figures
    assert figures.loss is not None
    assert figures.objective is not None
    assert figures.objective_stderr is not None
    assert figures.objective != pytest.approx(figures.loss, rel=0.1)


def test_a_network_that_overflows_has_no_figures_and_still_a_grid() -> None:
    broken = trained(lambda x_t, t: torch.full_like(x_t, float("nan")))
    measured = run_to_end(measurement(IMAGES[:4]).measure(broken))
    values = measured.figures.as_json()
    assert values["loss"] is values["bits_per_dim"] is None
    assert values["losses"] == [None] * 10
    assert measured.figures.from_json(values).words() == "no finite figure"
    assert measured.tensors["grid"].shape == (16, 1, 4, 4)


def test_losses_and_bound_are_in_float32_in_a_process_that_trains_in_tf32() -> None:
    """The images are drawn as the run's own samples would be."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before, seen = (cudnn.allow_tf32, matmul.allow_tf32), []
    best = trained().network.denoise

    def denoise(*arguments: Tensor) -> Tensor:
        seen.append((cudnn.allow_tf32, matmul.allow_tf32))
        return best(*arguments)

    cudnn.allow_tf32 = matmul.allow_tf32 = True
    try:
        for _ in measurement(IMAGES[:8]).measure(trained(denoise)):
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, True), "training goes on between two slices"
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
    exact = LOSS_TIMESTEPS + 8  # the bound's eight calls
    assert seen[:exact] == [(False, False)] * exact
    assert set(seen[exact:]) == {(True, True)}
