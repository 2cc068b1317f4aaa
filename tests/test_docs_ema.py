"""The numbers of docs/ema.md are those of the code."""

import re
from pathlib import Path

import pytest

from ddpm_core.power_ema import LONGEST_SIGMA_REL, PowerProfile, gamma_of, reconstruction, sigma_rel_of
from flows import reconstruction as stored
from flows.stages.evaluate.config import EvaluateConfig

PAGE = (Path(__file__).parent.parent / "docs" / "ema.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| [\dp]", line)
]


def test_the_table_of_errors() -> None:
    header, *rows = ROWS
    lengths = [float(cell) for cell in header[1:]]
    most = 0.0
    for count, *cells in rows:
        steps = [32_000 * point // int(count) for point in range(1, int(count) + 1)]
        profiles = [PowerProfile(step, gamma_of(length)) for step in steps for length in (0.05, 0.1)]
        found = [reconstruction(profiles, PowerProfile(32_000, gamma_of(length))) for length in lengths]
        assert [float(cell.removesuffix(" %")) for cell in cells] == pytest.approx(
            [100 * one.relative_error for one in found], abs=0.051
        )
        most = max(most, *(one.amplification for one in found))
    assert [int(count) for count, *_ in rows] == [4, 8, 16, 32, 64]
    assert most < 13
    assert "below 13 in all of these" in PROSE


def test_the_numbers_in_the_text() -> None:
    assert "at most at 0.2886" in PROSE
    assert 0.2886 < LONGEST_SIGMA_REL < 0.2887
    assert "the ratio 0.05 is σ_rel = 0.0629" in PROSE
    assert sigma_rel_of(0.6931471805599453 / 0.05 - 1) == pytest.approx(0.0629, abs=5e-5)
    assert f"at most {stored._MOST_POINTS} of them" in PROSE
    assert "compares six lengths" in PROSE
    assert len(EvaluateConfig().ema_lengths) == 6
