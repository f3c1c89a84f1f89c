"""Which table holds series, and how: long (a row a value), wide (a column a series), or a row a series.

Guesses only; the values are read and judged in `frames`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recurra.data.columns import Guess, Layout, by_name, first_values, require
from recurra.data.dates import looks_dated
from recurra.data.numbers import is_empty, is_numeric
from recurra.data.steps import Step
from recurra.data.tables import LABEL_NAMES, Table
from recurra.errors import DataError, UsageError

TASK = "forecast"
FILLS = ("previous", "linear", "zero", "mean", "gaps")
TIME_NAMES = (
    "ds", "date", "datetime", "timestamp", "time", "month", "week", "day", "year", "period", "日期", "时间", "月份",
)  # fmt: skip
ID_NAMES = ("unique_id", "series_id", "item_id", "ts_id", "series", "sensor", "store", "id", "编号")
VALUE_NAMES = ("y", "value", "target", "values", "数值", "值")
_ROWS = re.compile(r"[VvTtDdXx]?_?\d+")
_FEW = 8  # columns from which rows are series


@dataclass(frozen=True)
class FrameChoices:
    """What a person said of a table of series; None and empty for what is to be guessed.

    - fill: what stands where values or moments are missing: previous, linear, zero, mean; or gaps, which leaves rows as they
      are and tells the model how long each waited for the next.
    - horizon: values to forecast; season: the steps after which things come again.
    - judged: whether series must be long enough to learn from.
    - step, dates: of data read before, which these go on from: the step, and `Moments.form` of the moments.
    - before: by name the last row of series that these go on from, (moment, [value, past, ahead, static]): what is missing
      after it is filled too, where `fill` says with what.
    - time, series, value: columns; ahead, past, static: further columns by what is known of them, and when.
    """

    fill: str | None = None
    horizon: int | None = None
    season: int | None = None
    time: str | None = None
    series: str | None = None
    value: str | None = None
    ahead: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    judged: bool = True
    step: Step | None = None
    dates: str | None = None
    before: Mapping[str, tuple[int, np.ndarray]] = field(default_factory=dict)

    @property
    def named(self) -> list[str]:
        one = [name for name in (self.time, self.series, self.value) if name]
        return [*one, *self.ahead, *self.past, *self.static]


def looks_like(raw: Table, choices: FrameChoices) -> bool:
    """Whether this is a table of series, so plainly that nobody need say so."""
    if raw.task is not None:
        return raw.task == TASK
    if choices.named or choices.fill or choices.horizon:
        return True
    names = {name.lower().strip() for name in raw.columns}
    if {"unique_id", "ds"} <= names or {"ds", "y"} <= names:
        return True
    time = _time(raw, choices)
    rest = [name for name in raw.columns if name != time]
    if time is None:
        return _are_rows(raw, _FEW)
    labelled = any(name.lower() in LABEL_NAMES and name.lower() not in VALUE_NAMES for name in rest)
    return bool(rest) and not labelled and all(is_numeric(raw.columns[name]) for name in rest)


def choose(raw: Table, choices: FrameChoices, asked: bool, reasons: list[str]) -> Guess:
    """The guess, with the layout in words. Raises `DataError` where there is none, or for columns that do not exist."""
    layout = layout_of(raw, choices)
    how = "as asked" if asked else "since these are numbers at moments one after another; say otherwise with --task"
    reasons = [*reasons, f"Task: forecast, {how}.", *_reasons(layout, choices)]
    return Guess(TASK, None, None, reasons, layout=layout)


def layout_of(raw: Table, choices: FrameChoices) -> Layout:
    """How the table holds series. Raises as `choose`."""
    for name in choices.named:
        require(name, raw, "a column of series")
    if choices.fill not in (None, *FILLS):
        raise UsageError("There is no such way to fill", got=repr(choices.fill), expected=", ".join(FILLS))
    time = _time(raw, choices)
    if time is None and choices.series is None and not choices.value and _are_rows(raw, 1):
        first, *values = raw.columns
        return Layout("rows", None, first, tuple(values))
    series = choices.series or _series(raw, time, choices)
    value = choices.value or by_name([name for name in raw.columns if name not in (time, series)], VALUE_NAMES)
    _one_role_each(raw, choices, time, series, value)
    rest = [name for name in raw.columns if name not in (time, series)]
    numeric = [name for name in rest if is_numeric(raw.columns[name])]
    if series is None and (value is None or (choices.value is None and value.lower() != "y" and len(numeric) > 1)):
        taken = {*choices.past, *choices.ahead, *choices.static}
        values = tuple(name for name in numeric if name not in taken)
        _need(values, raw)
        if choices.static:
            raise UsageError(
                "A table with a column a series has no --static columns", got=", ".join(choices.static),
                expected="columns that stand beside the values of one column",
                fix="Name that one with --target, or leave --static out",
            )  # fmt: skip
        return Layout("wide", time, None, values, choices.past, choices.ahead)
    if value is None:
        free = [name for name in numeric if name not in {*choices.past, *choices.ahead, *choices.static}]
        _need(free, raw)
        value = free[0]
    known = {value, *choices.past, *choices.ahead, *choices.static}
    more = tuple(name for name in numeric if name not in known)
    return Layout("long", time, series, (value,), (*choices.past, *more), choices.ahead, choices.static)


def _one_role_each(raw: Table, choices: FrameChoices, time: str | None, series: str | None, value: str | None) -> None:
    """Raise `UsageError` where a column was named for what stands beside the values, and is something else already."""
    roles = {name: role for name, role in ((time, "the moments"), (series, "the series")) if name is not None}
    if value is not None:
        roles[value] = "what is to be forecast"
    if series is None:
        # without these choices it would say of which series a row is; what never changes has one value a series
        named = _series(raw, time, FrameChoices(time=choices.time, value=choices.value))
        still = named in choices.static and len({str(one) for one in raw.columns[named]}) > 1
        if named is not None and (still or named.lower() == "unique_id"):
            roles[named] = "the series"
    mended = {"the moments": "--time", "the series": "--series", "what is to be forecast": "--target"}
    for option, names in (("--past", choices.past), ("--ahead", choices.ahead), ("--static", choices.static)):
        for name in names:
            role = roles.setdefault(name, option)
            if role in mended:
                raise UsageError(
                    f"The column {name!r} cannot be {option}: it holds {role}",
                    fix=f"Leave it out, or name with {mended[role]} the column that holds {role}",
                )
            if role != option:
                raise UsageError(f"The column {name!r} cannot be {option}: it is {role} too", fix="Name it once")


def _need(values: Sequence[str], raw: Table) -> None:
    if not values:
        raise DataError(
            f"{raw.name} has no column of numbers to forecast",
            got=f"columns {', '.join(list(raw.columns)[:12])}",
            expected="a column of dates and one or more of numbers, or the columns unique_id, ds and y",
            fix="Name the column with --target COLUMN",
        )


def _time(raw: Table, choices: FrameChoices) -> str | None:
    if choices.time is not None:
        return choices.time
    named = by_name([name for name in raw.columns if not is_empty(raw.columns[name])], TIME_NAMES)
    if named is not None and (named.lower() == "ds" or looks_dated(raw.columns[named])):
        return named
    return next((name for name, values in raw.columns.items() if looks_dated(values)), None)


def _series(raw: Table, time: str | None, choices: FrameChoices) -> str | None:
    """The column whose values say of which series a row is: by its name, where some come again."""
    free = [name for name in raw.columns if name != time and name not in choices.named]
    named = by_name(free, ID_NAMES)
    if named is None:
        texts = [name for name in free if not is_numeric(raw.columns[name]) and not is_empty(raw.columns[name])]
        named = texts[0] if time is not None and len(texts) == 1 else None
    if named is None or named.lower() == "unique_id":
        return named
    values = [str(value) for value in first_values(raw.columns[named])]
    return named if len(set(values)) < len(values) else None


def _are_rows(raw: Table, least: int) -> bool:
    """Whether a name and then values V1, V2, ... stand in each row, in so many columns at least."""
    first, *rest = raw.columns
    if len(rest) < least or not raw.has_header or is_numeric(raw.columns[first]):
        return False
    ids = [str(value) for value in raw.columns[first]]
    named = sum(_ROWS.fullmatch(name) is not None for name in rest)
    return (
        named == len(rest) and len(set(ids)) == len(ids) and all(is_numeric(raw.columns[name], True) for name in rest)
    )


def _reasons(layout: Layout, choices: FrameChoices) -> list[str]:
    if layout.form == "rows":
        return [f"Series: each row is one, named by its column {layout.series!r}; the values follow one another."]
    when = "rows one after another" if layout.time is None else f"the column {layout.time!r}"
    found = [f"Moments: {when}; say otherwise with --time COLUMN."]
    if layout.form == "wide":
        shown = ", ".join(map(repr, layout.values[:8])) + (" …" if len(layout.values) > 8 else "")
        found.append(f"Series: each of the columns {shown}; with --target COLUMN one alone, the others beside it.")
    else:
        which = "one" if layout.series is None else f"by the column {layout.series!r}"
        found.append(
            f"Series: {which}, values from the column {layout.values[0]!r}; say otherwise with --target COLUMN."
        )
    guessed = [name for name in layout.past if name not in choices.past]
    if guessed:
        shown = ", ".join(map(repr, guessed[:8]))
        found.append(
            f"Beside them, known up to the present: {shown}; what is known ahead is said with --ahead COLUMNS."
        )
    return found
