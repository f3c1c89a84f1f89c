"""Intervals and tests against what theory and other implementations say."""

from __future__ import annotations

import numpy as np
import pytest

from recurra.data import intervals
from recurra.data.intervals import draws, interval, mcnemar, resampled


def test_each_resample_draws_as_many_rows_as_there_are() -> None:
    [drawn] = draws(50, 200, seed=1)
    assert drawn.shape == (200, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert np.array_equal(drawn, next(draws(50, 200, seed=1)))
    assert not np.array_equal(drawn, next(draws(50, 200, seed=2)))


def test_what_does_not_fit_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = draws(50, 200)
    monkeypatch.setattr(intervals, "_HELD", 50 * 64)
    parts = list(draws(50, 200))
    assert [len(part) for part in parts] == [64, 64, 64, 8]
    assert np.array_equal(np.concatenate(parts), whole)


def test_the_interval_of_a_mean_is_what_the_normal_law_says() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    sums = {"total": values, "count": np.ones(len(values))}
    means = resampled(sums, lambda s: {"mean": float(s["total"] / s["count"])})["mean"]
    low, high = interval(means)
    error = values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        right = (random.random(300) < 0.8).astype(float)
        sums = {"right": right, "count": np.ones(300)}
        low, high = interval(resampled(sums, lambda s: {"a": float(s["right"] / s["count"])}, 400)["a"])
        inside += low <= 0.8 <= high
    assert 0.9 < inside / 200 < 0.99


def test_matrices_add_up_as_numbers_do() -> None:
    confusion = np.zeros((6, 3, 3))
    confusion[np.arange(6), [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 1, 0]] = 1
    [drawn] = draws(6, 20)
    found = resampled({"c": confusion}, lambda s: {"right": float(np.trace(s["c"])), "all": float(s["c"].sum())}, 20)
    assert (found["all"] == 6).all()
    assert found["right"] == pytest.approx(drawn[:, [0, 1, 2, 4]].sum(axis=1))


def test_mcnemar_is_the_binomial_test() -> None:
    from scipy.stats import binomtest

    for one, other in [(0, 0), (1, 0), (5, 5), (10, 2), (30, 55), (400, 331)]:
        wanted = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
        assert mcnemar(one, other) == pytest.approx(wanted, rel=1e-9)
        assert mcnemar(one, other) == mcnemar(other, one)
