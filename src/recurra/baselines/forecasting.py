"""Forecasts that need no network: the last value again, the last season again, and a line through the last values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from recurra.baselines.results import BaselineResult
from recurra.data.forecast_measures import forecast_metrics, window_sums
from recurra.data.series import SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.data.stretches import stretches
from recurra.data.windows import Stretch, WindowBatch

PIECE = 2_000
"""Forecasts that are made at once."""
LAGS = 336
STRENGTH = 1e-3

Method = Callable[[Stretch, np.ndarray], np.ndarray]
"""(a stretch, origins[A]) -> forecasts[A, H]."""


def forecast_baselines(
    codec: ForecastCodec,
    horizon: int,
    training: SeriesDataset | None,
    splits: Mapping[str, SeriesDataset],
    lookback: int | None = None,
) -> dict[str, list[BaselineResult]]:
    """Repeating the last value, repeating the last season where there is one, and ridge regression, on each split.

    Without `training` there is no regression. With `lookback` the regression reads no more values than that.
    """
    season = codec.season
    started = time.perf_counter()
    line, detail = (None, "") if training is None else _line(training, horizon, lookback or LAGS)
    learnt = time.perf_counter() - started
    methods: list[tuple[str, Method, str, float]] = [("last value again", _again(1, horizon), "", 0.0)]
    if season > 1:
        methods.append(("last season again", _again(season, horizon), f"a season of {season}", 0.0))
    if line is not None:
        methods.append(("linear model", line, detail, learnt))
    results: dict[str, list[BaselineResult]] = {}
    for split, dataset in splits.items():
        parts = stretches(dataset, codec, horizon, training=False)
        results[split] = []
        for name, method, told, spent in methods:
            started = time.perf_counter()
            metrics = _measured(method, parts, codec, horizon)
            if metrics:
                seconds = spent + time.perf_counter() - started
                results[split].append(BaselineResult(name, metrics, seconds, told))
    return results


def _measured(method: Method, parts: list[Stretch], codec: ForecastCodec, horizon: int) -> dict[str, float]:
    sums: dict[str, torch.Tensor] = {}
    steps = np.arange(1, horizon + 1)
    for part in parts:
        scale = codec.scales[int(part.rows[0, 1])] if len(part.rows) and part.rows[0, 1] >= 0 else part.deviation
        for begin in range(0, len(part.origins), PIECE):
            origins = part.origins[begin : begin + PIECE]
            simple = np.zeros((len(origins), 0))
            if part.pattern is not None:
                size = len(part.pattern)
                level = part.values[origins] / part.pattern[origins % size]
                simple = level[:, None] * part.pattern[(origins[:, None] + steps) % size]
            batch = WindowBatch(
                torch.zeros(1, 0, 0), torch.from_numpy(part.values[origins[:, None] + steps])[None],
                anchors=torch.from_numpy(origins.astype(np.int64))[None],
                errors=torch.tensor([[part.error, part.deviation]], dtype=torch.float64),
                simple=torch.from_numpy(simple)[None],
            )  # fmt: skip
            found = torch.from_numpy(method(part, origins))[None, ..., None]
            for name, value in window_sums(found, batch, torch.tensor([scale]), codec.season).items():
                sums[name] = sums[name] + value if name in sums else value
    return forecast_metrics(sums) if sums else {}


def _again(season: int, horizon: int) -> Method:
    ahead = np.arange(horizon) % season

    def forecast(part: Stretch, origins: np.ndarray) -> np.ndarray:
        at = origins[:, None] - season + 1 + ahead
        return part.values[np.where(at < 0, origins[:, None], at)]

    return forecast


def _line(training: SeriesDataset, horizon: int, most: int) -> tuple[Method | None, str]:
    """Ridge regression from the last values to the next ones, all less the last one; one matrix for all series."""
    shortest = int(np.median([len(one) for one in training.series]))
    lags = min(most, max(1, shortest // 3))
    inner, cross, count = np.zeros((lags + 1, lags + 1)), np.zeros((lags + 1, horizon)), 0
    for one in training.series:
        scale = float(one.values.std()) or 1.0
        last = len(one) - horizon
        for begin in range(lags - 1, last, PIECE):
            origins = np.arange(begin, min(begin + PIECE, last))
            x = _inputs(one.values, origins, lags) / scale
            x[:, -1] = 1.0
            y = (one.values[origins[:, None] + 1 + np.arange(horizon)] - one.values[origins][:, None]) / scale
            inner += x.T @ x
            cross += x.T @ y
            count += len(origins)
    if count < 2:
        return None, ""
    ridge = np.eye(lags + 1) * (STRENGTH * float(inner.diagonal()[:-1].mean()) + 1e-12)
    found = np.linalg.solve(inner + ridge, cross)

    def forecast(part: Stretch, origins: np.ndarray) -> np.ndarray:
        x = _inputs(part.values, origins, lags)
        scale = part.deviation
        x[:, -1] = scale
        return part.values[origins][:, None] + x @ found

    return forecast, f"ridge regression on the last {lags} values"


def _inputs(values: np.ndarray, origins: np.ndarray, lags: int) -> np.ndarray:
    """[A, lags + 1]: the last values less the last one, before the beginning the first; the last column is free."""
    at = np.maximum(0, origins[:, None] - np.arange(lags - 1, -1, -1))
    return np.concatenate([values[at] - values[origins][:, None], np.zeros((len(origins), 1))], axis=1)
