"""Statistics in a file: as others write and read them, exact, and never unpickled."""

import pickle
from io import BytesIO

import numpy as np
import pytest
import torch

from infra.errors import InputError
from infra.features.statistics_file import StatisticsFile, decode_statistics, encode_statistics, is_statistics_file

ROWS = np.random.default_rng(0).normal(size=(40, 5))
MU, SIGMA = ROWS.mean(0), np.cov(ROWS, rowvar=False)


def saved(**arrays: object) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def counted(count: int) -> np.ndarray:
    return np.array(f'{{"count": {count}}}')


def test_a_file_as_pytorch_fid_writes_it() -> None:
    file = BytesIO()
    np.savez_compressed(file, mu=MU, sigma=SIGMA)
    assert is_statistics_file(file)
    found = decode_statistics(file.getvalue(), "x")
    np.testing.assert_array_equal(found.mean.numpy(), MU)
    np.testing.assert_array_equal(found.covariance.numpy(), SIGMA)
    assert found.about == {}


def test_ours_is_read_as_pytorch_fid_reads_it_and_by_ourselves() -> None:
    about = {"count": 40, "extractor": "inception"}
    ours = StatisticsFile(mean=torch.from_numpy(MU), covariance=torch.from_numpy(SIGMA), about=about)
    data = encode_statistics(ours)
    assert encode_statistics(ours) == data
    with np.load(BytesIO(data)) as file:
        np.testing.assert_array_equal(file["mu"][:], MU)
        np.testing.assert_array_equal(file["sigma"][:], SIGMA)
    assert decode_statistics(data, "x").about == about


BAD = {
    "not a zip": (b"mu sigma", "holds no statistics"),
    "images": (saved(arr_0=np.zeros((2, 4, 4, 3), np.uint8)), "holds no statistics"),
    "pickled": (saved(mu=np.array([{}], dtype=object), sigma=SIGMA), "holds no statistics"),
    "other shapes": (saved(mu=MU, sigma=SIGMA[:4]), "sigma of"),
    "not finite": (saved(mu=MU * np.nan, sigma=SIGMA), "not finite"),
    "a huge mean": (saved(mu=np.full(5, 1e200), sigma=SIGMA), "squares, summed over 2 images, are not finite"),
    "a huge mean of many": (saved(mu=np.full(5, 1e152), sigma=SIGMA, ddpm=counted(10**5)), "summed over 100,000 im"),
    "a huge covariance": (saved(mu=MU, sigma=np.eye(5) * 1e308), "are not finite"),
    "too many images": (saved(mu=MU, sigma=SIGMA, ddpm=counted(10**400)), "of more than 9007199254740992 images"),
    "not symmetric": (saved(mu=MU, sigma=np.triu(SIGMA)), "is no covariance"),
    "negative": (saved(mu=MU, sigma=-SIGMA), "is no covariance"),
    "text": (saved(mu=np.array(["a"]), sigma=SIGMA), "holds no statistics"),
    "another origin": (saved(mu=MU, sigma=SIGMA, ddpm=np.array("[1]")), "is no table"),
    "origin that is no JSON": (saved(mu=MU, sigma=SIGMA, ddpm=np.array("{")), "holds no statistics"),
}


@pytest.mark.parametrize("kind", BAD)
def test_anything_else_is_refused(kind: str) -> None:
    data, cause = BAD[kind]
    with pytest.raises(InputError, match=cause):
        decode_statistics(data, "x.npz")


def test_a_large_mean_whose_sums_are_finite_is_read() -> None:
    assert decode_statistics(saved(mu=np.full(5, 1e152), sigma=SIGMA, ddpm=counted(10)), "x").about == {"count": 10}


def test_no_pickle_is_run() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("it was unpickled",)

    data = saved(mu=MU, sigma=SIGMA) + pickle.dumps(Trap())
    assert decode_statistics(data, "x").about == {}
    object_array = BytesIO()
    np.save(object_array, np.array([1]))
    assert not is_statistics_file(object_array)
