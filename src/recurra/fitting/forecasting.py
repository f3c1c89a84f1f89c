"""Forecasts for people: frames in, frames out, and a follower that takes new rows at the cost of these rows alone.

A frame that comes back is of the library of the one that was given; for a path it is one of polars.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.data.checking import raise_fatal
from recurra.data.dates import Step, datetime_of
from recurra.data.layouts import TASK, FrameChoices
from recurra.data.reading import read
from recurra.data.series import Series, SeriesDataset
from recurra.data.stretches import origins_of
from recurra.errors import DataError, StateError, UsageError
from recurra.models import Forecaster, Task, bounds, fingerprint
from recurra.state import State, load_state, merge, save_state, select

LEVELS = (80.0, 95.0)
ROWS = 64
"""Series that are read side by side."""


def forecaster_of(task: Task) -> Forecaster:
    """The model, where it is a forecaster. Raises `UsageError` for others."""
    if not isinstance(task, Forecaster):
        raise UsageError("Only a forecaster forecasts", got=f"a model of kind '{task.kind}'", fix="Use predict")
    return task


def series_in(task: Forecaster, data: Any, fill: str | None = None) -> SeriesDataset:
    """Data of any form that `fit` takes, as the model reads them. Raises `DataError` for what it cannot read."""
    if isinstance(data, SeriesDataset):
        return data
    dataset, _, problems = read(data, task=TASK, need_labels=False, frame=choices_of(task, fill))
    raise_fatal([problem for problem in problems if problem.fatal], dataset.name)
    assert isinstance(dataset, SeriesDataset)
    task.codec.check(dataset)
    return dataset


def choices_of(task: Forecaster, fill: str | None = None) -> FrameChoices:
    """The columns that a model was made for."""
    codec = task.codec
    past, ahead, static = codec.columns
    asked_fill, time, series, value = codec.asked
    past = tuple(name for name in past if name != "gap") if codec.gaps else past
    return FrameChoices(fill or asked_fill, 1, codec.season, time, series, value, ahead, past, static, judged=False)


def forecast(
    task: Task, data: Any, *, levels: Sequence[float] = LEVELS, horizon: int | None = None, fill: str | None = None
) -> Any:
    """What follows each series of `data`: a frame with unique_id, ds, mean and, for each level, lo-80 and hi-80.

    Series may be new to the model. What is known ahead stands in rows of `data` whose value is empty. Raises `DataError`
    for data that it cannot read, `UsageError` for levels or a horizon out of range.
    """
    follower = Follower(task)
    follower.update(data, fill=fill)
    return follower.forecast(levels=levels, horizon=horizon, like=data)


class Follower:
    """Follows series as they grow: `update` costs as much as the new rows, however long the history is.

    It holds a state a series, all of them as one batch; a series that it has not met begins with its first row.
    """

    def __init__(self, task: Task) -> None:
        self._task = forecaster_of(task).eval()
        self._names: list[str] = []
        self._last: list[int] = []
        self._state: State = self._task.initial_state(0)
        self._ahead: dict[str, np.ndarray] = {}
        self._step: Step = self._task.codec.step
        self._changed: dict[int, State] = {}
        self._fresh: list[State] = []

    @property
    def names(self) -> list[str]:
        """The series that are followed."""
        return list(self._names)

    @property
    def state(self) -> State:
        """The states of all series, in the order of `names`: a value, never written again."""
        return self._state

    @torch.no_grad()
    def update(self, data: Any, *, fill: str | None = None) -> None:
        """Read further rows of some series, or the first ones. Raises `DataError` where rows are missing before them."""
        dataset = series_in(self._task, data, fill)
        places = {name: place for place, name in enumerate(self._names)}
        self._check(dataset, places)
        for begin in range(0, len(dataset.series), ROWS):
            group = dataset.series[begin : begin + ROWS]
            batch = self._task.encode(group)
            if [one.name for one in group] == self._names:
                # all of them, as they stand: nothing has to be taken out of the batch, nor put back
                self._state = self._task.read_on(batch, self._state)
                for place, one in enumerate(group):
                    self._note(one, place)
                continue
            before = merge([self._state_of(one.name, places) for one in group])
            after = self._task.read_on(batch, before)
            for row, one in enumerate(group):
                self._put(one, select(after, [row]), places)
        self._settle()

    def push(self, values: Sequence[float]) -> None:
        """One new value of each series, in the order of `names`: the shortest way, without a frame.

        Raises `DataError` where they are not as many as the series, or where something else stands beside the values.
        """
        task = self._task
        if len(values) != len(self._names) or task.config.columns:
            raise DataError(
                "These values do not fit", got=f"{len(values)} values",
                expected=f"one for each of {len(self._names)} series, with nothing beside them",
            )  # fmt: skip
        rows = np.array(values, dtype=np.float64)
        if not np.isfinite(rows).all():
            raise DataError("A value is not finite", got=values[:5], fix="Fill it, or leave the row out")
        inputs = np.stack([rows, self._state.series.numpy()], axis=1)[:, None]
        with torch.no_grad():
            self._state = task.go_on(torch.from_numpy(inputs).to(task.head_bias.dtype), self._state)
        self._last = [self._step.after(last, 1)[0] for last in self._last]

    @torch.no_grad()
    def forecast(
        self, *, levels: Sequence[float] = LEVELS, horizon: int | None = None, like: Any = None
    ) -> Any:  # fmt: skip
        """What follows each series, as a frame of the library of `like`."""
        task = self._task
        length = task.config.horizon if horizon is None else horizon
        if length < 1:
            raise UsageError("A horizon is out of range", got=length, expected="1 or more")
        if not self._names:
            raise DataError("There is no series to forecast", expected="rows of some series, by `update`")
        found = []
        for begin in range(0, len(self._names), ROWS):
            names = self._names[begin : begin + ROWS]
            ahead = torch.from_numpy(np.stack([self._known_ahead(name, length) for name in names]))
            state = select(self._state, slice(begin, begin + ROWS))
            found.append(task.forecast(state, ahead.to(task.head_bias.dtype), length).double().numpy())
        outputs = np.concatenate(found)
        moments = [moment for last in self._last for moment in self._step.after(last, length)]
        columns: dict[str, Any] = {
            "unique_id": [name for name in self._names for _ in range(length)],
            "ds": _moments(moments, self._step),
            **_numbers(outputs.reshape(-1, outputs.shape[2]), levels),
        }
        return frame_like(like, columns)

    def save(self, path: str | Path) -> None:
        """Write all states, bound to this model by its content hash."""
        told = {"names": self._names, "last": self._last, "ahead": {k: v.tolist() for k, v in self._ahead.items()}}
        save_state(path, self._state, fingerprint(self._task), {"follower": json.dumps(told, ensure_ascii=False)})

    @classmethod
    def load(cls, task: Task, path: str | Path) -> Follower:
        """Go on from a file written by `save`. Raises `StateError` for a damaged file or another model's."""
        found = cls(task)
        model = found._task
        found._state, extra = load_state(path, model.initial_state(1), fingerprint(model))
        try:
            told = json.loads(extra.get("follower", ""))
            found._names, found._last = list(map(str, told["names"])), list(map(int, told["last"]))
            found._ahead = {name: np.array(rows, dtype=np.float64) for name, rows in told["ahead"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"{path} is no file of a follower", fix="Use one that Follower.save has written"
            ) from error
        return found

    # ---- one series among the others

    def _check(self, dataset: SeriesDataset, places: dict[str, int]) -> None:
        """Refuse rows that do not follow: a state cannot be told later what it has missed."""
        for one in dataset.series:
            if one.name not in places or not self._step.dated or not len(one):
                continue
            last = self._last[places[one.name]]
            wanted = self._step.after(last, 1)[0]
            if int(one.moments[0]) != wanted and not self._task.codec.gaps:
                raise DataError(
                    f"Series {one.name!r} does not go on where it ended",
                    got=datetime_of(int(one.moments[0])),
                    expected=f"{datetime_of(wanted)}, a step of {self._step.words} after {datetime_of(last)}",
                    fix="Give the rows between too",
                )

    def _state_of(self, name: str, places: dict[str, int]) -> State:
        return select(self._state, [places[name]]) if name in places else self._task.initial_state(1)

    def _put(self, one: Series, state: State, places: dict[str, int]) -> None:
        place = places.get(one.name)
        if place is None:
            self._fresh.append(state)
            self._names.append(one.name)
            self._last.append(int(one.moments[-1]))
            self._ahead[one.name] = self._task.codec.known_ahead(one)[len(one) :]
        else:
            self._changed[place] = state
            self._note(one, place)

    def _note(self, one: Series, place: int) -> None:
        """What a series that is followed was given: where it ends now, and what is known ahead of there."""
        self._ahead[one.name] = self._task.codec.known_ahead(one)[len(one) :]
        after = self._last[place] + len(one) * self._step.micros
        self._last[place] = int(one.moments[-1]) if self._step.dated else after

    def _settle(self) -> None:
        """The states that were changed, and those of new series, among the others."""
        count = len(self._names) - len(self._fresh)
        if (self._changed and len(self._changed) < count) or self._fresh:
            old = [self._changed.get(place, None) for place in range(count)]
            parts = [select(self._state, [place]) if state is None else state for place, state in enumerate(old)]
            self._state = merge([*parts, *self._fresh])
        elif self._changed:
            self._state = merge([self._changed[place] for place in range(count)])
        self._changed, self._fresh = {}, []

    def _known_ahead(self, name: str, horizon: int) -> np.ndarray:
        """[horizon, A]: what stands beside the future rows, and its mean after these."""
        width = self._task.codec.ahead
        found, given = np.zeros((horizon, width)), self._ahead.get(name, np.zeros((0, width)))[:horizon]
        found[: len(given)] = given
        return found


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
    dataset = rolling(model, series_in(model, data), windows, step or model.config.horizon, history)
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
    numbers = _numbers(np.concatenate(found), levels)
    moments = {name: _moments(columns.pop(name), dataset.step) for name in ("ds", "cutoff")}
    return frame_like(data, {"unique_id": columns["unique_id"], **moments, "y": columns["y"], **numbers})


def rolling(
    model: Forecaster, dataset: SeriesDataset, windows: int | None, step: int = 1, history: Any = None
) -> SeriesDataset:
    """The beginnings that are measured: `step` rows apart, the last `windows` of each series, all of them where None."""
    if windows is not None and windows < 1:
        raise UsageError("--windows is out of range", got=windows, expected="1 or more")
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
            ahead = torch.from_numpy(known[done : done + model.config.horizon])[None].to(rows.dtype)
            yield one, origin, model.forecast(state, ahead).double().numpy()[0]


def _numbers(outputs: np.ndarray, levels: Sequence[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": outputs[:, 0].tolist()}
    for level in levels:
        low, high = bounds(outputs[:, 1:], level)
        found[f"lo-{level:g}"], found[f"hi-{level:g}"] = low.tolist(), high.tolist()
    return found


def _moments(moments: Sequence[int], step: Step) -> list[Any]:
    return [datetime_of(moment) for moment in moments] if step.dated else list(moments)


def frame_like(given: Any, columns: dict[str, Any]) -> Any:
    """Columns as a frame of the library that a given frame is of; of polars for anything else."""
    import narwhals

    frame = narwhals.from_native(given, pass_through=True) if given is not None else None
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, narwhals.DataFrame):
        return narwhals.from_dict(columns, backend=frame.implementation).to_native()
    import polars

    return polars.DataFrame(columns)
