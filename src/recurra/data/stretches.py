"""Series as a model reads them, with the places at which forecasts begin, and what MASE and OWA compare with."""

from __future__ import annotations

import numpy as np

from recurra.data.series import Series, SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.data.windows import Stretch

LEAST = 8
"""Rows before the first forecast, in training and where a series has no history."""


def stretches(dataset: SeriesDataset, codec: ForecastCodec, horizon: int, *, training: bool) -> list[Stretch]:
    """A stretch a series; for training with all origins that have a later value, for measuring those after the history
    whose whole horizon is known.
    """
    return [_stretch(one, dataset, codec, horizon, training) for one in dataset.series]


def _stretch(one: Series, dataset: SeriesDataset, codec: ForecastCodec, horizon: int, training: bool) -> Stretch:
    rows, ahead = codec.rows(one), codec.known_ahead(one)
    if training:
        # a forecast of fewer values than the horizon still teaches these
        last = len(one) - 1 - max(1, min(horizon, len(one) // 4))
        return Stretch(rows, one.values, ahead, np.arange(min(LEAST, max(0, last)), last + 1))
    history = one.values[: one.seen] if one.seen else one.values
    return Stretch(
        rows, one.values, ahead, origins_of(one, dataset, horizon), seasonal_error(history, codec.season),
        float(history.std()) or 1.0, pattern_of(history, codec.season),
    )  # fmt: skip


def held_back(dataset: SeriesDataset, codec: ForecastCodec, horizon: int) -> list[Stretch]:
    """A stretch a series whose values behind its history are forecast from each of the `horizon` moments before them."""
    found = []
    for one in dataset.series:
        values = one.values.copy()
        values[: one.seen] = np.nan
        first = max(one.seen - horizon, LEAST - 1, 0)
        origins = np.arange(first, len(one) - 1)[::-1][:: dataset.stride][::-1]
        found.append(Stretch(codec.rows(one), values, codec.known_ahead(one), origins))
    return found


def origins_of(one: Series, dataset: SeriesDataset, horizon: int) -> np.ndarray:
    """The rows after which a forecast is measured: the last one of the history first."""
    first = max(one.seen, LEAST) - 1
    found = np.arange(first, len(one) - horizon)
    if dataset.stride > 1:
        found = found[::-1][:: dataset.stride][::-1]
    return found if dataset.most is None else found[len(found) - min(len(found), dataset.most) :]


def seasonal_error(history: np.ndarray, season: int) -> float:
    """The mean absolute error of repeating the value of a season before, over a history; NaN where it is too short."""
    lag = season if len(history) > season else 1
    return float(np.abs(history[lag:] - history[:-lag]).mean()) if len(history) > lag else float("nan")


def pattern_of(history: np.ndarray, season: int) -> np.ndarray | None:
    """What Naive2 multiplies its level by at each place of the season, of ones where there is no season to speak of.

    As in the M4 competition: a test of the autocorrelation at 90 %, then the classical multiplicative decomposition.
    """
    count = len(history)
    if count < 2 or (history <= 0).any():
        return np.ones(max(1, season))
    flat = np.ones(season)
    if season < 2 or count < 3 * season:
        return flat
    apart = history - history.mean()
    whole = float((apart * apart).sum())
    if whole <= 0:
        return flat
    auto = np.array([float((apart[lag:] * apart[:-lag]).sum()) / whole for lag in range(1, season + 1)])
    limit = 1.645 * np.sqrt((1 + 2 * float((auto[:-1] ** 2).sum())) / count)
    if abs(auto[-1]) <= limit:
        return flat
    ends = np.full(1, 1.0 if season % 2 else 0.5)
    weights = np.concatenate([ends, np.ones(season - 1 - season % 2), ends]) / season
    trend = np.convolve(history, weights, "valid")
    first = (len(weights) - 1) // 2
    ratio = history[first : first + len(trend)] / trend
    places = (np.arange(len(ratio)) + first) % season
    found = np.array([ratio[places == place].mean() for place in range(season)])
    return found / found.mean()
