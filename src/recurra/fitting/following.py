"""A follower takes new rows of its series at the cost of these rows alone, and forecasts from where they end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.data.new_rows import NewRows
from recurra.data.numbers import ENDLESS
from recurra.data.series import Series, SeriesDataset
from recurra.data.steps import Step, datetime_of
from recurra.errors import DataError, StateError, UsageError
from recurra.fitting.forecasting import (
    LEVELS,
    columns_of,
    forecaster_of,
    frame_of,
    library_of,
    moments_as,
    understood,
)
from recurra.models import Task, fingerprint
from recurra.models.stepping import RowStepper
from recurra.state import State, batch_size, load_state, merge, save_state, select

ROWS = 64
"""Series that are read side by side."""
FURTHEST = 1 << 16
"""The longest horizon, as for `fit`."""


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

    It holds a state a series, all of them as one batch; a series that it has not met begins with its first row. One row of
    each series, by `push` or as a dict or frame with the columns of the table before, goes a short way to the same numbers.
    The model's weights must not change while it follows.
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
        self._stepper: RowStepper | None = None
        self._further = False  # whether the stepper has read on from `_state`
        self._new_rows: NewRows | None = None
        self._notes: list[str] = []
        self._library: Any = None
        # the last row of each series: as it was read, and above that as `_go_on` last had it, standardised
        self._ends: dict[str, np.ndarray] = {}
        self._newest: np.ndarray | None = None

    @property
    def names(self) -> list[str]:
        """The series that are followed."""
        return list(self._names)

    @property
    def state(self) -> State:
        """The states of all series, in the order of `names`: a value, never written again."""
        if self._further and self._stepper is not None:
            self._state, self._further = self._stepper.state(), False
        return self._state

    @property
    def notes(self) -> list[str]:
        """What was to be told of the last table: series that are new to the model, rows that were sorted or filled."""
        return list(self._notes)

    def update(self, data: Any, *, fill: str | None = None) -> None:
        """Read further rows of some series, or the first ones. Raises `DataError` where rows are missing before them."""
        found = None if self._new_rows is None else self._new_rows.read(data, self._last)
        if found is None:
            self._read(data, fill)
        else:
            self._go_on(found[0])
            self._last, self._notes = found[1], []

    @torch.no_grad()
    def _read(self, data: Any, fill: str | None) -> None:
        ends = self._last_rows()
        before = {name: (last, ends[name]) for name, last in zip(self._names, self._last, strict=True) if name in ends}
        dataset, layout, self._notes = understood(self._task, data, fill, before)
        self._library = library_of(data)
        self._state, places = self.state, {name: place for place, name in enumerate(self._names)}
        self._check(dataset, places)
        self._stepper = None
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
        self._ends.update((one.name, _end_of(one)) for one in dataset.series)
        self._new_rows = NewRows.of(layout, self._task.codec, self._names)

    def push(self, values: Sequence[Any]) -> None:
        """One new value of each series, in the order of `names`: the shortest way, without a frame.

        Where something stands beside the values, each is a sequence instead: the value, and then what stands beside it, in
        the order of the model's columns (past, ahead, static). Raises `DataError` where they are not as many as the series,
        do not hold such numbers, or where the wait before a row is an input.
        """
        codec, width = self._task.codec, 1 + len(self._task.codec.centres)
        try:
            given = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            given = np.zeros(0)
        if given.shape != ((len(self._names), width) if width > 1 else (len(self._names),)) or codec.gaps:
            names = ", ".join(name for part in codec.columns for name in part)
            each = f"each a value and then {names}" if names else "with nothing beside them"
            raise DataError(
                "These values do not fit", got=repr(values)[:60],
                expected=f"one of each of {len(self._names)} series, {each}",
                fix="Use update: the wait before each row is an input of this model" if codec.gaps else None,
            )  # fmt: skip
        if not (np.abs(given) <= ENDLESS).all():
            raise DataError("A value is not finite", got=repr(values)[:60], fix="Fill it, or leave the row out")
        given = given.reshape(len(given), width)
        rows = np.empty((len(given), 1 + width))
        rows[:, 0] = given[:, 0]
        # the numbers of the series stay what they were; only the first time they are asked for
        rows[:, 1] = self.state.series.cpu().numpy() if self._newest is None else self._newest[:, 1]
        if width > 1:
            rows[:, 2:] = (given[:, 1:] - np.array(codec.centres)) / np.array(codec.spreads)
        self._go_on(rows)
        self._last = [self._step.after(last, 1)[0] for last in self._last]

    def _go_on(self, rows: np.ndarray) -> None:
        """Read rows[B, F], one of each series; the short way where there is one."""
        self._newest = rows
        stepper = self._stepper
        if stepper is None or not stepper.current():
            self._state, self._further = self.state, False
            self._stepper = stepper = RowStepper.of(self._task, self._state)
        if stepper is not None:
            stepper.step(rows.astype(stepper.dtype))
            self._further = True
        else:
            inputs = torch.from_numpy(rows[:, None]).to(self._task.head_bias)
            with torch.no_grad():
                self._state = self._task.go_on(inputs, self._state)
        if self._task.config.ahead:
            self._ahead = {name: later[1:] for name, later in self._ahead.items()}

    @torch.no_grad()
    def forecast(
        self, *, levels: Sequence[float] = LEVELS, horizon: int | None = None, like: Any = None
    ) -> Any:  # fmt: skip
        """What follows each series, as a frame of the library of `like`, or else of the last table that was read."""
        task = self._task
        length = task.config.horizon if horizon is None else horizon
        if not isinstance(length, Integral) or not 1 <= length <= FURTHEST:
            raise UsageError("A horizon is out of range", got=length, expected=f"a whole number from 1 to {FURTHEST}")
        if not self._names:
            raise DataError("There is no series to forecast", expected="rows of some series, by `update`")
        found = []
        for begin in range(0, len(self._names), ROWS):
            names = self._names[begin : begin + ROWS]
            ahead = torch.from_numpy(np.stack([self._known_ahead(name, length) for name in names]))
            state = select(self.state, slice(begin, begin + ROWS))
            found.append(task.forecast(state, ahead.to(task.head_bias), length).cpu().double().numpy())
        outputs = np.concatenate(found)
        moments = [moment for last in self._last for moment in self._step.after(last, length)]
        columns: dict[str, Any] = {
            "unique_id": [name for name in self._names for _ in range(length)],
            "ds": moments_as(moments, self._step),
            **columns_of(outputs.reshape(-1, outputs.shape[2]), levels),
        }
        return frame_of(self._library if like is None else library_of(like), columns)

    def save(self, path: str | Path) -> None:
        """Write all states, bound to this model by its content hash."""
        ahead, ends = ({k: v.tolist() for k, v in held.items()} for held in (self._ahead, self._last_rows()))
        told = {"names": self._names, "last": self._last, "ahead": ahead, "ends": ends}
        save_state(path, self.state, fingerprint(self._task), {"follower": json.dumps(told, ensure_ascii=False)})

    @classmethod
    def load(cls, task: Task, path: str | Path) -> Follower:
        """Go on from a file written by `save`. Raises `StateError` for a damaged file or another model's."""
        found = cls(task)
        model = found._task
        found._state, extra = load_state(path, model.initial_state(1), fingerprint(model))
        try:
            told = json.loads(extra.get("follower", ""))
            found._names, found._last = list(map(str, told["names"])), list(map(int, told["last"]))
            if not len(set(found._names)) == len(found._last) == len(found._names) == batch_size(found._state):
                raise ValueError("names, moments and states")
            if found._step.dated:
                moments_as(found._last, found._step)
            width = model.codec.ahead
            found._ahead = {
                name: np.array(rows, dtype=np.float64).reshape(len(rows), width) for name, rows in told["ahead"].items()
            }
            found._ahead = {name: found._ahead[name] for name in found._names}
            # files written before these were kept have none
            found._ends = {name: np.array(row, dtype=np.float64) for name, row in told.get("ends", {}).items()}
            wide = 1 + len(model.codec.centres)
            if not all(row.shape == (wide,) and np.isfinite(row).all() for row in found._ends.values()):
                raise ValueError("last rows")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise StateError(
                f"{path} is no file of a follower", fix="Use one that Follower.save has written"
            ) from error
        return found

    # ---- one series among the others

    def _last_rows(self) -> dict[str, np.ndarray]:
        """The last row of each series, [value, past, ahead, static], in the units of the data."""
        if self._newest is not None:
            codec = self._task.codec
            beside = self._newest[:, 2:] * np.array(codec.spreads) + np.array(codec.centres)
            self._ends = dict(zip(self._names, np.concatenate([self._newest[:, :1], beside], axis=1), strict=True))
            self._newest = None
        return self._ends

    def _check(self, dataset: SeriesDataset, places: dict[str, int]) -> None:
        """Refuse rows that do not follow: a state cannot be told later what it has missed."""
        for one in dataset.series:
            if one.name not in places or not self._step.dated or not len(one):
                continue
            last = self._last[places[one.name]]
            wanted = self._step.after(last, 1)[0]
            if int(one.moments[0]) != wanted and not self._task.codec.gaps:
                later = ", or say what stands there with fill" if int(one.moments[0]) > wanted else ""
                raise DataError(
                    f"Series {one.name!r} does not go on where it ended",
                    got=datetime_of(int(one.moments[0])),
                    expected=f"{datetime_of(wanted)}, a step of {self._step.words} after {datetime_of(last)}",
                    fix=f"Give the rows between too{later}",
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
        """What a series that is followed was given: where it ends now, and what is known ahead of there, then as before."""
        later, before = self._task.codec.known_ahead(one)[len(one) :], self._ahead[one.name][len(one) :]
        self._ahead[one.name] = np.concatenate([later, before[len(later) :]])
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


def _end_of(one: Series) -> np.ndarray:
    """The last row of a series: its value and what stands beside it."""
    return np.concatenate([one.values[-1:], one.past[-1], one.ahead[len(one) - 1], one.static])
