"""How long a season is: the lag at which series resemble themselves most. Knows arrays alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST = 400
SERIES = 60
"""Series that are looked at."""
PLAIN, FAINT = 0.3, 0.1
"""The autocorrelation from which a lag is a season; from which the one that the calendar speaks for is."""


def find_season(values: Sequence[np.ndarray], likely: int = 1) -> int:
    """The season of most series, 1 where there is none. `likely` (of the calendar) is taken where it is plain enough."""
    mean = _mean_curve([np.diff(one) for one in values])
    peaks = [lag for lag in range(2, len(mean) - 1) if mean[lag] > mean[lag - 1] and mean[lag] >= mean[lag + 1]]
    if likely in peaks and mean[likely] >= max(FAINT, 0.5 * max(mean[lag] for lag in peaks)):
        return likely
    good = [lag for lag in peaks if mean[lag] >= PLAIN]
    if not good:
        return 1
    # of a season and its multiples the first that is nearly as plain as the plainest
    best = max(mean[lag] for lag in good)
    return next(lag for lag in good if mean[lag] >= 0.9 * best)


def longer_season(values: Sequence[np.ndarray], season: int) -> int:
    """How many values make a longer season beside `season`, a week of days: a multiple of it, or 0 where there is none.

    It shows in what is left of each value when that of a season before is taken off.
    """
    mean = _mean_curve([one[season:] - one[:-season] for one in values if len(one) > season]) if season > 1 else []
    plain = {lag: mean[lag] for lag in range(2 * season, len(mean), season) if mean[lag] >= FAINT}
    return next((lag for lag, value in plain.items() if value >= 0.9 * max(plain.values())), 0)


def _mean_curve(values: Sequence[np.ndarray]) -> np.ndarray:
    """The autocorrelation by lag, over some of the series; -1 where fewer than half of them are long enough."""
    step = max(1, len(values) // SERIES)
    found = [curve for one in values[::step] if (curve := _autocorrelation(one)) is not None]
    padded = np.full((len(found), max(map(len, found), default=0)), np.nan)
    for row, curve in enumerate(found):
        padded[row, : len(curve)] = curve
    there = np.isfinite(padded).sum(axis=0)
    return np.where(there * 2 >= len(found), np.nansum(padded, axis=0) / np.maximum(there, 1), -1.0)


def _autocorrelation(values: np.ndarray) -> np.ndarray | None:
    """By lag, of values less their mean; None for what is too short or constant."""
    if len(values) < 11:
        return None
    apart = values - values.mean()
    whole = float((apart * apart).sum())
    if whole <= 0:
        return None
    most = min(LONGEST, len(apart) // 3)
    size = 1 << int(np.ceil(np.log2(2 * len(apart))))
    spectrum = np.fft.rfft(apart, size)
    return np.fft.irfft(spectrum * np.conj(spectrum), size)[: most + 1] / whole
