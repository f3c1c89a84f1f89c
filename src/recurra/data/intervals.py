"""How sure a measured figure is: bootstrap intervals over rows, and McNemar's exact test for two classifiers.

Efron (1979) draws rows again with replacement; where two models are measured on the same rows, the same draw serves both, so
that the interval of their difference is narrower than of either. Plain arithmetic: knows no models and no metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

RESAMPLES = 1_000
LEVEL = 0.95
_HELD = 1 << 24  # numbers that are drawn at once

Sums = Mapping[str, np.ndarray]
"""Numbers that add up over rows: [N, ...] by name."""


def draws(rows: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each row is drawn in each resample, float64 [r, N] in parts that fit into memory; each draws N of N."""
    random = np.random.default_rng(seed)
    at_once = max(1, _HELD // rows)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        places = random.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        yield np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def resampled(
    sums: Sums,
    metrics: Callable[[dict[str, np.ndarray]], Mapping[str, float]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Each metric of each resample, [R]. `metrics` turns sums over rows into figures.

    The same rows and `seed` are the same draws, so that the results of two models can be subtracted. A metric that some
    resamples do not have is left out.
    """
    found: list[Mapping[str, float]] = []
    for drawn in draws(len(next(iter(sums.values()))), resamples, seed):
        totals = {name: _weighted(np.asarray(values), drawn) for name, values in sums.items()}
        found += [metrics({name: values[place] for name, values in totals.items()}) for place in range(len(drawn))]
    return {
        name: np.array([figures[name] for figures in found])
        for name in found[0]
        if all(name in figures for figures in found)
    }


def _weighted(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """drawn[R, N] times values[N, ...] -> [R, ...]. Columns that are zero in all rows cost nothing."""
    flat = values.reshape(len(values), -1)
    used = np.flatnonzero(flat.any(axis=0))
    totals = np.zeros((len(drawn), flat.shape[1]))
    totals[:, used] = drawn @ flat[:, used].astype(np.float64)
    return totals.reshape(len(drawn), *values.shape[1:])


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of resampled figures (the percentile interval)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(only_one: int, only_other: int) -> float:
    """The chance of a split at least this uneven where both are equally good: McNemar's exact test, two-sided.

    `only_one` and `only_other` count the rows that only one of two classifiers has right (McNemar 1947). Each falls to either
    with chance one half, so the chance is a sum of binomial ones; rows that both have right or wrong tell nothing.
    """
    count = only_one + only_other
    if count == 0:
        return 1.0
    log = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
    tail = sum(math.exp(log[k] - count * math.log(2)) for k in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * tail)
