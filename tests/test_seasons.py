"""How long a season is, and whether a longer one stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from recurra.data.seasons import find_season, longer_season


def series(week: bool, noise: float = 0.3) -> list[np.ndarray]:
    """Five series of 40 days of 8 hours, whose walk is slow; with `week` each day of seven is a day of its own."""
    rng = np.random.default_rng(0)
    day, days = rng.normal(size=8), rng.normal(size=(7, 8))
    pattern = (day + days).ravel() if week else np.tile(day, 7)
    return [np.tile(pattern, 6)[:320] + rng.normal(0, noise, 320) + rng.normal(0, 0.1, 320).cumsum() for _ in range(5)]


@pytest.mark.parametrize(("week", "expected"), [(True, 56), (False, 0)])
def test_a_week_of_days(week: bool, expected: int) -> None:
    assert longer_season(series(week), 8) == expected


def test_of_a_week_and_its_multiples_the_week() -> None:
    assert longer_season(series(True, noise=0.0), 8) == 56


def test_where_nothing_comes_again_nothing_is_longer() -> None:
    assert longer_season(series(True), 1) == 0
    assert longer_season([], 8) == 0 and longer_season([np.ones(5), np.ones(100)], 8) == 0
    assert find_season([]) == 1 and find_season(series(False)) == 8
