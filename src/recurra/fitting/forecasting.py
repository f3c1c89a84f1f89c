"""Forecasts for people: how frames are read and written, and forecasts from moments of the past.

A frame that comes back is of the library of the one that was given; for a path it is one of polars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from recurra.data.checking import raise_fatal
from recurra.data.columns import Layout
from recurra.data.layouts import TASK, FrameChoices
from recurra.data.reading import read
from recurra.data.series import Series, SeriesDataset
from recurra.data.steps import Step, datetime_of
from recurra.data.stretches import origins_of
from recurra.errors import DataError, UsageError
from recurra.models import Forecaster, Task, bounds

LEVELS = (80.0, 95.0)


def forecaster_of(task: Task) -> Forecaster:
    """The model, where it is a forecaster. Raises `UsageError` for others."""
    if not isinstance(task, Forecaster):
        raise UsageError("Only a forecaster forecasts", got=f"a model of kind '{task.kind}'", fix="Use predict")
    return task


def series_in(task: Forecaster, data: Any, fill: str | None = None) -> SeriesDataset:
    """Data of any form that `fit` takes, as the model reads them. Raises `DataError` for what it cannot read."""
    return understood(task, data, fill)[0]


def understood(
    task: Forecaster, data: Any, fill: str | None = None, before: Mapping[str, tuple[int, np.ndarray]] | None = None
) -> tuple[SeriesDataset, Layout | None, list[str]]:
    """As `series_in`; how the table holds them; and what is to be told of them, a sentence each. `before` are the rows that
    each series ended with, as in `FrameChoices`."""
    if isinstance(data, SeriesDataset):
        return data, None, []
    choices = replace(choices_of(task, fill), before=before or {})
    dataset, guess, problems = read(data, task=TASK, need_labels=False, frame=choices)
    raise_fatal([problem for problem in problems if problem.fatal], dataset.name)
    assert isinstance(dataset, SeriesDataset)
    task.codec.check(dataset)
    told = [problem.message for problem in problems]
    new = [one.name for one in dataset.series if task.codec.number(one.name) < 0]
    if new:
        names = ", ".join(map(repr, new[:5])) + (" …" if len(new) > 5 else "")
        count = "1 series is" if len(new) == 1 else f"{len(new)} series are"
        told.append(f"{count} new to the model ({names}), read at the scale that shows while reading")
    return dataset, guess.layout, told


def choices_of(task: Forecaster, fill: str | None = None) -> FrameChoices:
    """The columns that a model was made for."""
    codec = task.codec
    past, ahead, static = codec.columns
    asked_fill, time, series, value = codec.asked
    past = tuple(name for name in past if name != "gap") if codec.gaps else past
    return FrameChoices(
        fill or asked_fill, 1, codec.season, time, series, value, ahead, past, static,
        judged=False, step=codec.step, dates=codec.dates,
    )  # fmt: skip


@torch.no_grad()
def cross_validation(
    task: Task, data: Any, *, windows: int | None = None, step: int | None = None, levels: Sequence[float] = LEVELS,
    history: Any = None,
) -> Any:  # fmt: skip
    """Forecasts from moments of the past, with what came: unique_id, ds, cutoff, y, mean and bounds, as `forecast` gives.

    The last `windows` beginnings of each series (all where None), `step` rows apart (the horizon where None). Each series is
    read once, whatever the number of windows.
    """
    model = forecaster_of(task)
    dataset = rolling(model, series_in(model, data), windows, model.config.horizon if step is None else step, history)
    columns: dict[str, list[Any]] = {name: [] for name in ("unique_id", "ds", "cutoff", "y")}
    found = []
    for one, origin, outputs in _each(model, dataset):
        later = slice(origin + 1, origin + 1 + model.config.horizon)
        size = len(one.values[later])
        columns["unique_id"] += [one.name] * size
        columns["ds"] += one.moments[later].tolist()
        columns["cutoff"] += [int(one.moments[origin])] * size
        columns["y"] += one.values[later].tolist()
        found.append(outputs[:size])
    if not found:
        raise DataError(
            f"{dataset.name} has no moment of the past that a forecast can begin at", expected="longer series"
        )
    numbers = columns_of(np.concatenate(found), levels)
    moments = {name: moments_as(columns.pop(name), dataset.step) for name in ("ds", "cutoff")}
    return frame_like(data, {"unique_id": columns["unique_id"], **moments, "y": columns["y"], **numbers})


def rolling(
    model: Forecaster, dataset: SeriesDataset, windows: int | None, step: int = 1, history: Any = None
) -> SeriesDataset:
    """The beginnings that are measured: `step` rows apart, the last `windows` of each series, all of them where None."""
    if windows is not None and windows < 1:
        raise UsageError("--windows is out of range", got=windows, expected="1 or more")
    if step < 1:
        raise UsageError("--step is out of range", got=step, expected="1 or more")
    if history is not None:
        dataset = dataset.after(series_in(model, history))
    settings = {"horizon": model.config.horizon, "season": model.codec.season}
    return replace(dataset, **settings, stride=max(dataset.stride, step), most=windows)


def _each(model: Forecaster, dataset: SeriesDataset) -> Iterator[tuple[Series, int, np.ndarray]]:
    """(series, origin, forecast[H, 1 + P]) of every beginning."""
    for one in dataset.series:
        state, done = model.initial_state(1), 0
        rows = model.encode([one]).inputs
        known = model.codec.known_ahead(one)
        for origin in origins_of(one, dataset, model.config.horizon).tolist():
            state = model.advance(rows[:, done : origin + 1], state)[2]
            done = origin + 1
            ahead = torch.from_numpy(known[done : done + model.config.horizon])[None].to(rows)
            yield one, origin, model.forecast(state, ahead).cpu().double().numpy()[0]


def columns_of(outputs: np.ndarray, levels: Sequence[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": outputs[:, 0].tolist()}
    if not isinstance(levels, Iterable) or isinstance(levels, str):
        raise UsageError("Levels are wrong", got=repr(levels)[:40], expected="several numbers, as (80, 95)")
    for level in levels:
        low, high = bounds(outputs[:, 1:], level)
        found[f"lo-{level:g}"], found[f"hi-{level:g}"] = low.tolist(), high.tolist()
    return found


def moments_as(moments: Sequence[int], step: Step) -> list[Any]:
    return [datetime_of(moment) for moment in moments] if step.dated else list(moments)


def frame_like(given: Any, columns: dict[str, Any]) -> Any:
    """Columns as a frame of the library that a given frame is of; of polars for anything else."""
    return frame_of(library_of(given), columns)


def library_of(given: Any) -> Any:
    """The library that a frame is of, as narwhals calls it; None for anything else."""
    import narwhals

    frame = narwhals.from_native(given, pass_through=True) if given is not None else None
    return frame.implementation if isinstance(frame, narwhals.DataFrame | narwhals.LazyFrame) else None


def frame_of(library: Any, columns: dict[str, Any]) -> Any:
    """Columns as a frame of a library of `library_of`; of polars for None."""
    if library is None:
        import polars

        return polars.DataFrame(columns)
    import narwhals

    return narwhals.from_dict(columns, backend=library).to_native()
