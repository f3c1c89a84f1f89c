"""Forecasting: the next values of series, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.baselines import BaselineResult, forecast_baselines
from recurra.data.checking import Problem
from recurra.data.facts import unit_of
from recurra.data.seasons import longer_season
from recurra.data.series import SeriesDataset
from recurra.data.series_codec import ForecastCodec
from recurra.errors import DataError, UsageError
from recurra.fitting.kinds.kind import Kind, recipe_of, stack_config, that_fits, usual_space
from recurra.fitting.kinds.space import OneOf, Span
from recurra.fitting.options import FitOptions
from recurra.models import Forecaster, ForecasterConfig
from recurra.models.finishing import finish, thinned
from recurra.models.line import fit_line
from recurra.training import Recipe, evaluate

HELD = 0.1
LEAST_ROWS = 16
"""Rows that a series keeps for training where a part of it is held back."""
LOOKED_AT = 4_000
"""Forecasts that a validation during training looks at."""
MANY = 120
"""Series that such a validation looks at."""
BEFORE = 1_000
"""Rows of history that such a validation reads before the first of them."""
STEPS = 512
"""Rows of a training stretch, where the state is carried."""
LONG = 336
"""Last values that the linear part reads, where nothing says how many: two weeks of hours."""
USUAL_FORECASTS = 400_000
"""Forecasts that a run learns from, at the most where there are minutes."""
LEAST_PASSES, OF_MANY_SERIES = 4, 12
"""Passes over them at the least; and where there are minutes and so `MANY` series that none is soon known by heart."""
SOON = 1_500
"""Rows of the longest look-back that is tried of itself: each forecast costs so many, too many for a trial of seconds."""
FEW_ERRORS = 30
"""Independent errors below which it is told that intervals rest on few."""
DRAWN = 12
"""Series and stretches shown in a report."""


class Forecast(Kind[SeriesDataset, Forecaster]):
    name = "forecast"
    shown = ("mse", "mae", "smape", "mase", "owa", "coverage80")

    def check(self, options: FitOptions) -> None:
        super().check(options)
        for name in ("bidirectional", "level", "vocabulary", "normalise", "summary"):
            value = getattr(options, name)
            if value not in (None, False, FitOptions.model_fields[name].default):
                raise UsageError(f"--{name} is not for --task forecast", fix="Leave it out")

    def split(self, dataset: SeriesDataset, seed: int) -> tuple[SeriesDataset, SeriesDataset]:
        horizon, ends = dataset.horizon, []
        for one in dataset.series:
            held = max(horizon, round(HELD * len(one)))
            ends.append(len(one) - held if len(one) - held >= LEAST_ROWS else len(one))
        if all(end == len(one) for end, one in zip(ends, dataset.series, strict=True)):
            raise DataError(
                f"{dataset.name} is too short to hold a part back for validation",
                got=f"{max(map(len, dataset.series))} values in the longest series",
                expected=f"{LEAST_ROWS + horizon} or more for a horizon of {horizon}",
                fix="Give longer series, a smaller --horizon, or a validation file with --valid",
            )
        return dataset.cut(ends, dataset.name), dataset.seen_until(ends, f"{dataset.name} (last tenth)")

    def problems(self, train: SeriesDataset, other: SeriesDataset) -> list[Problem]:
        known = {one.name for one in train.series}
        new = [place for place, one in enumerate(other.series) if one.name not in known]
        if not new:
            return []
        names = ", ".join(repr(other.series[place].name) for place in new[:5]) + (" …" if len(new) > 5 else "")
        unit = unit_of(other.name)
        message = (
            f"{other.name} has {len(new)} series that are not in the training data ({names}; first at {unit} "
            f"{other.lines[new[0]]}): they are read at the scale that shows while reading"
        )
        return [Problem(other.lines[new[0]], message, fatal=False)]

    def part(self, dataset: SeriesDataset) -> SeriesDataset:
        # of a long history the end leaves nearly the same state as the whole
        chosen = range(0, len(dataset.series), -(-len(dataset.series) // MANY))
        some = dataset.subset(list(chosen), dataset.name)
        series = [one.since(max(0, one.seen - BEFORE)) for one in some.series]
        return thinned(replace(some, series=series), dataset.horizon, LOOKED_AT)

    def build(
        self, dataset: SeriesDataset, options: FitOptions, twin_of: Forecaster | None = None
    ) -> tuple[Forecaster, Recipe]:
        codec = ForecastCodec.learn(
            dataset, dataset.season, (options.fill, options.time, options.series, options.target or dataset.value)
        )
        config = _config(dataset, codec, options)
        if config.lags and all((one.values > 0).all() for one in dataset.series):
            config = config.model_copy(update={"logarithm": _better_as_logarithm(dataset, codec, config)})
        task = that_fits(lambda: Forecaster(config, codec))
        task.reader.scales.copy_(torch.from_numpy(_scales(dataset, config)))
        if config.lags:
            fit_line(task, dataset)
            task.line.requires_grad_(False)
            task.line_bias.requires_grad_(False)
        carried = config.lookback is None
        epochs = options.epochs
        if epochs is None:
            # more passes than these learn the forecasts by heart, however many minutes there are
            least = OF_MANY_SERIES if options.minutes is not None and len(dataset.series) >= MANY else LEAST_PASSES
            epochs = max(least, min(200, round(USUAL_FORECASTS / max(1, sum(map(len, dataset.series))))))
        recipe = recipe_of(
            options,
            minutes=options.minutes,
            epochs=epochs,
            rate=2e-3,
            rows=16 if carried else 256,
            steps=max(STEPS, 2 * config.kept),
            average=0.98,
            weight_decay=0.01,
            evaluations=12,
        )
        return task, recipe

    def space(self, dataset: SeriesDataset, task: Forecaster, recipe: Recipe) -> tuple[Span, ...]:
        # how many rows make a batch is another question for each lookback, and is left to `build`
        usual = (span for span in usual_space(task, recipe) if span.name != "rows")
        return (
            *usual,
            OneOf("parts", ("plain", "segments", "residual")),
            OneOf("lookback", (None, *_some_lookbacks(dataset))),
        )

    compared_by = "geometric mean of mae and rmse"

    def compared(self, metrics: Mapping[str, float]) -> float:
        # of counts that are mostly zero, forecasts of zero have the least mae and the greatest rmse: neither alone may choose
        return math.sqrt(metrics["mae"] * math.sqrt(metrics["mse"]))

    def candidates(self, dataset: SeriesDataset, options: FitOptions) -> tuple[dict[str, Any], ...]:
        found: list[dict[str, Any]] = []
        if options.parts is None:
            found += [{"parts": parts} for parts in ("residual", "plain")]
        if options.lookback is None and options.parts != "smoothed":
            found += [{"lookback": rows} for rows in _some_lookbacks(dataset) if rows <= SOON]
        return tuple(found)

    # what the regression leaves is learnt soon, and then by heart: ahead of segments in the first passes, and behind later
    slow = frozenset({"parts"})

    def margin(self, valid: SeriesDataset) -> float:
        # what a mean of absolute errors of so many values varies by, where two models err alike (correlated by 0.8)
        values = sum(len(one) - one.seen for one in valid.series)
        return 0.5 / max(1, values) ** 0.5

    def finish(self, task: Forecaster, valid: SeriesDataset) -> bool:
        counted = finish(task, valid)
        task.finished_on = (valid.digest, counted) if counted else None
        return counted > 0

    def notes(self, task: Forecaster, dataset: SeriesDataset, sums: Mapping[str, Any]) -> list[str]:
        digest, counted = task.finished_on or ("", 0.0)
        found: list[str] = []
        if digest != dataset.digest:
            return found
        found += [
            "The intervals were corrected on this very set, so their coverage here tells nothing: see a test set."
        ]
        if counted < FEW_ERRORS:
            found.append(
                f"What was missed on the values held back counts as {counted:.0f} independent errors, which is little to "
                "tell intervals from: they were widened for it."
            )
        return found

    def baselines(
        self, task: Forecaster, training: SeriesDataset, splits: Mapping[str, SeriesDataset]
    ) -> Mapping[str, list[BaselineResult]]:
        return forecast_baselines(task.codec, task.config.horizon, training, splits, task.config.lookback)

    def next_commands(self, task: Forecaster, where: str) -> list[str]:
        return [f"recurra predict {where} FILE", f"recurra evaluate {where} FILE --windows 10"]

    def details(self, task: Forecaster, valid: SeriesDataset, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        values = sums["values"].double().clamp(min=1)
        per_step = {
            "mse": (sums["squares"] / values).tolist(),
            "mae": (sums["absolute"] / values).tolist(),
            **{f"coverage{level}": (sums[f"inside{level}"] / values).tolist() for level in (80, 95)},
        }
        return {"forecasts": {"per_step": per_step, "shares": task.share.tolist(), "drawn": _drawn(task, valid)}}


def _config(dataset: SeriesDataset, codec: ForecastCodec, options: FitOptions) -> ForecasterConfig:
    horizon, season, lookback = dataset.horizon, dataset.season, options.lookback
    parts = options.parts or "segments"
    shortest = int(np.median([len(one) for one in dataset.series]))
    segment = _segment(horizon, season, lookback, shortest) if parts != "plain" else 1
    lags = 0 if parts == "plain" else min(lookback or LONG, max(2, shortest // 3))
    dropout = 0.5 if options.dropout is None else options.dropout
    block = min(horizon, options.block or horizon)
    return ForecasterConfig.from_user(
        stack=stack_config(options, hidden=256, dropout=dropout),
        horizon=horizon,
        block=block,
        segment=segment,
        chunk=_chunk(block, segment, season),
        lags=lags,
        beside=parts != "residual",
        season=season,
        smoothing=parts == "smoothed",
        longer=longer_season([one.values for one in dataset.series], season) if parts == "smoothed" else 0,
        lookback=lookback,
        series=len(codec.names),
        columns=len(codec.centres),
        ahead=codec.ahead,
        output=options.output or "point",
        dropout=dropout,
    )


def _some_lookbacks(dataset: SeriesDataset) -> tuple[int, ...]:
    """Some of the last rows: a few seasons or horizons, as far as the shorter series reach."""
    unit = max(dataset.season, dataset.horizon, 12)
    longest = int(np.median([len(one) for one in dataset.series])) - dataset.horizon
    return tuple(times * unit for times in (2, 4, 8) if times * unit <= longest)


def _chunk(block: int, segment: int, season: int) -> int:
    """Values that one step of the decoder gives: whole seasons, so that no more than eight steps or so are needed."""
    unit = season if season > 3 else 12
    return min(block, max(segment, unit * -(-block // (8 * unit))))


def _better_as_logarithm(dataset: SeriesDataset, codec: ForecastCodec, config: ForecasterConfig) -> bool:
    """Whether the line alone forecasts the end of the training data better from logarithms, by sMAPE and MASE."""
    horizon = config.horizon
    ends = [len(one) - horizon if len(one) > 2 * horizon + config.lags else len(one) for one in dataset.series]
    early, late = dataset.cut(ends, dataset.name), replace(dataset.seen_until(ends, dataset.name), most=1)
    if not any(end < len(one) for end, one in zip(ends, dataset.series, strict=True)):
        return False
    figures = []
    for logarithm in (False, True):
        # a network of one unit, whose share is nothing: the line is all that counts
        stack = config.stack.model_copy(update={"hidden": 1, "layers": 1})
        trial = Forecaster(
            config.model_copy(update={"logarithm": logarithm, "stack": stack, "smoothing": False, "longer": 0}), codec
        )
        trial.reader.scales.copy_(torch.from_numpy(_scales(early, trial.config)))
        trial.share.zero_()
        fit_line(trial, early)
        metrics, _ = evaluate(trial, trial.feed(late, rows=16, steps=STEPS, training=False))
        figures.append(metrics.get("owa", metrics["smape"]))
    return figures[1] < figures[0]


def _segment(horizon: int, season: int, lookback: int | None, shortest: int) -> int:
    """Rows that one step reads: a season, or two where many values are to be forecast, within what may be seen."""
    wanted = season if season > 3 else 12
    if lookback is not None and 4 * wanted <= lookback:
        wanted *= 2
    most = max(1, (lookback or shortest) // 2 - (lookback is not None))
    return max(1, min(wanted, horizon if horizon > 3 else wanted, most))


def _scales(dataset: SeriesDataset, config: ForecasterConfig) -> np.ndarray:
    """The scale of each series as the network sees it."""
    found = []
    for one in dataset.series:
        values = np.log(np.maximum(one.values, 1e-30)) if config.logarithm else one.values
        spread = float(values.std())
        found.append(spread if spread > 1e-6 * max(1e-12, float(np.abs(values).max(initial=0))) else 1.0)
    return np.array(found)


def _drawn(task: Forecaster, valid: SeriesDataset) -> list[dict[str, Any]]:
    """Some forecasts with what was before and what came, for pictures."""
    found, horizon = [], task.config.horizon
    step = max(1, len(valid.series) // DRAWN)
    for one in valid.series[::step][:DRAWN]:
        last = len(one) - horizon
        if last < max(one.seen, 2):
            continue
        answer = task.predict([one.until(last)])[0]
        begin = max(0, last - 3 * horizon)
        found.append(
            {"name": one.name, "before": one.values[begin:last].tolist(), "came": one.values[last:].tolist(), **answer}
        )
    return found
