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
    step = max(1, len(values) // SERIES)
    found = [curve for one in values[::step] if (curve := _autocorrelation(one)) is not None]
    if not found:
        return 1
    size = max(map(len, found))
    padded = np.full((len(found), size), np.nan)
    for row, curve in enumerate(found):
        padded[row, : len(curve)] = curve
    there = np.isfinite(padded).sum(axis=0)
    mean = np.where(there * 2 >= len(found), np.nansum(padded, axis=0) / np.maximum(there, 1), -1.0)
    peaks = [lag for lag in range(2, size - 1) if mean[lag] > mean[lag - 1] and mean[lag] >= mean[lag + 1]]
    if likely in peaks and mean[likely] >= max(FAINT, 0.5 * max(mean[lag] for lag in peaks)):
        return likely
    good = [lag for lag in peaks if mean[lag] >= PLAIN]
    if not good:
        return 1
    # of a season and its multiples the first that is nearly as plain as the plainest
    best = max(mean[lag] for lag in good)
    return next(lag for lag in good if mean[lag] >= 0.9 * best)


def _autocorrelation(values: np.ndarray) -> np.ndarray | None:
    """By lag, of the differences from one value to the next less their mean; None for what is too short or constant."""
    if len(values) < 12:
        return None
    apart = np.diff(values)
    apart = apart - apart.mean()
    whole = float((apart * apart).sum())
    if whole <= 0:
        return None
    most = min(LONGEST, len(apart) // 3)
    size = 1 << int(np.ceil(np.log2(2 * len(apart))))
    spectrum = np.fft.rfft(apart, size)
    return np.fft.irfft(spectrum * np.conj(spectrum), size)[: most + 1] / whole
