"""Long tables of series to classify: a row a step, with a column that names the series of each row.

Such a table becomes one with a row a series: its steps as an array [T, F], and its answer, which must be one for all its
rows. Series may differ in length, and values may be missing. `frames` reads the long tables that are to be forecast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recurra.data.checking import Problem, left_out, places
from recurra.data.columns import Columns, by_name, require
from recurra.data.datasets import LongColumns
from recurra.data.dates import Moments, looks_dated, unlike
from recurra.data.layouts import ID_NAMES, TIME_NAMES, VALUE_NAMES, FrameChoices
from recurra.data.numbers import is_numeric, numbers_of
from recurra.data.stamps import UNEVEN, is_uneven, stamps_of
from recurra.data.tables import LABEL_NAMES, Table
from recurra.data.values import has_parts, is_void, label_text
from recurra.errors import DataError

SERIES, STEPS = "series", "steps"
"""How the column of series is called; the latter where the answers are called as the former."""
_IDS = (*ID_NAMES, "sequence_id", "sample_id", "sample", "case_id", "case", "trial", "instance", "样本")
_TIMES = (*TIME_NAMES, "step", "timestep", "time_step", "t", "tick", "frame", "步")
_SHOWN = 3


@dataclass(frozen=True)
class _Layout:
    columns: LongColumns
    answers: tuple[str, ...]
    unread: tuple[str, ...]
    asked: bool


def gathered(
    raw: Table,
    columns: Columns,
    choices: FrameChoices,
    known: LongColumns | None,
    *,
    task: str | None,
    need_labels: bool,
    judged: bool,
) -> tuple[Table, str] | None:
    """(the table with a row a series, what was done); None where it is no such table.

    `known` are the columns that a model was made with. Raises `DataError` where they, or columns that were named, are not
    there.
    """
    layout = _layout(raw, columns, choices, known, task, need_labels and judged)
    if layout is None:
        return None
    groups, problems = _groups(raw, layout.columns.series)
    # for prediction the answers matter no more than other columns that are not read
    answers, torn = _answers(raw, layout.answers if need_labels else (), groups)
    if torn and not layout.asked and task is None and 2 * len(torn) > len(groups):
        return None
    problems += [*raw.problems, *_torn(torn, groups, raw, layout.columns.series)]
    steps = np.empty((len(raw.lines), len(layout.columns.channels)), dtype=np.float64)
    for place, name in enumerate(layout.columns.channels):
        steps[:, place], told = numbers_of(raw, name)
        problems += told
    groups, dates, told = _in_order(raw, layout.columns, groups)
    problems += told
    columns_read = replace(layout.columns, dates=dates)
    with np.errstate(over="ignore"):
        arrays = [steps[rows].astype(np.float32) for rows in groups.values()]
    named = SERIES if SERIES not in answers else STEPS
    if not groups:
        problems.append(Problem(None, f"no row names its series in {layout.columns.series!r}", fatal=True))
    found = Table(
        {named: arrays, **answers},
        [raw.lines[rows[0]] for rows in groups.values()],
        raw.name, f"series at {raw.unit}", raw.has_header, problems, task=raw.task, long=columns_read, ids=list(groups),
    )  # fmt: skip
    return found, _reason(layout, len(groups))


def _layout(
    raw: Table, columns: Columns, choices: FrameChoices, known: LongColumns | None, task: str | None, need_labels: bool
) -> _Layout | None:
    if columns.tags or columns.target or columns.text or any(map(_holds_parts, raw.columns.values())):
        return None
    if known is not None and {known.series, *known.channels} & set(raw.columns):
        _require_known(raw, known)
        return _Layout(known, tuple(_labels(raw, columns, (), task)), (), True)
    for option, name in (("--series", choices.series), ("--time", choices.time)):
        if name is not None:
            require(name, raw, option)
    series = choices.series or _series(raw)
    if series is None:
        return None
    time = choices.time or _time(raw, series)
    answers = _labels(raw, columns, (series, time), task)
    channels = [name for name in raw.columns if name not in (series, time, *answers)]
    numeric = [name for name in channels if is_numeric(raw.columns[name], empty=True)]
    unread = tuple(name for name in channels if name not in numeric)
    asked = choices.series is not None
    if not numeric or (unread and not asked) or (not answers and need_labels):
        return None
    return _Layout(LongColumns(series, time, tuple(numeric)), tuple(answers), unread, asked)


def _holds_parts(values: Sequence[object]) -> bool:
    return any(map(has_parts, values[:20]))


def _require_known(raw: Table, known: LongColumns) -> None:
    needed = (known.series, *(() if known.time is None else (known.time,)), *known.channels)
    missing = [name for name in needed if name not in raw.columns]
    if missing:
        which = "column" if len(missing) == 1 else "columns"
        raise DataError(
            f"{raw.name} lacks the {which} {', '.join(map(repr, missing[:8]))}, which the model reads",
            got=f"columns {', '.join(list(raw.columns)[:12])}",
            expected=f"columns {', '.join(needed[:12])}" + (" …" if len(needed) > 12 else ""),
            fix="Name the columns as in the training data; one whose values are all missing may be empty",
        )


def _series(raw: Table) -> str | None:
    """The column that is called as those are which name series, if its values come again; or as it is called for that alone,
    beside a column of moments."""
    found = by_name(list(raw.columns), _IDS)
    if found is None or (found.lower() == "unique_id" and _time(raw, found) is not None):
        return found
    values = [str(value).strip() for value in raw.columns[found] if not is_void(value)]
    return found if 2 * len(set(values)) <= len(values) else None


def _time(raw: Table, series: str) -> str | None:
    free = [name for name in raw.columns if name != series]
    return by_name(free, _TIMES) or next((name for name in free if looks_dated(raw.columns[name])), None)


def _labels(raw: Table, columns: Columns, taken: Iterable[str | None], task: str | None) -> list[str]:
    """The columns with the answers: those that were named, or the one that is called as they are."""
    if columns.label is not None:
        if columns.label in raw.columns:
            return [columns.label]
        return [name.strip() for name in columns.label.split(",") if name.strip() in raw.columns]
    names = LABEL_NAMES if task is not None else [name for name in LABEL_NAMES if name not in VALUE_NAMES]
    found = by_name([name for name in raw.columns if name not in taken], names)
    return [] if found is None else [found]


def _groups(raw: Table, series: str) -> tuple[dict[str, np.ndarray], list[Problem]]:
    """The rows of each series, in the order in which these come first."""
    groups: dict[str, list[int]] = defaultdict(list)
    blank = []
    for place, value in enumerate(raw.columns[series]):
        name = None if is_void(value) else label_text(value)
        if name is None:
            blank.append(raw.lines[place])
        else:
            groups[name].append(place)
    problems = left_out(blank, raw.unit, "names no series", "name no series")
    lost = raw.lost + len(blank)
    if 2 * lost > len(raw.lines) + raw.lost:
        problems.append(Problem(None, f"{lost} of {len(raw.lines) + raw.lost} rows cannot be used", fatal=True))
    return {name: np.array(rows) for name, rows in groups.items()}, problems


def _answers(
    raw: Table, names: Sequence[str], groups: dict[str, np.ndarray]
) -> tuple[dict[str, list], dict[str, list[int]]]:
    """(the columns of answers with a value a series, the rows that disagree by series). Rows may leave theirs empty."""
    found: dict[str, list] = {}
    torn: dict[str, list[int]] = {}
    for column in names:
        values = raw.columns[column]
        found[column] = []
        for series, rows in groups.items():
            first: dict[str, int] = {}
            for row in rows:
                text = None if is_void(values[row]) else label_text(values[row])
                if text is not None:
                    first.setdefault(text, int(row))
            found[column].append(values[next(iter(first.values()))] if first else None)
            if len(first) > 1:
                torn.setdefault(series, list(first.values()))
    return found, torn


def _torn(torn: dict[str, list[int]], groups: dict[str, np.ndarray], raw: Table, series: str) -> list[Problem]:
    if not torn:
        return []
    told = "; ".join(
        f"{name!r}: {places([raw.lines[row] for row in rows], raw.unit)}" for name, rows in list(torn.items())[:_SHOWN]
    )
    more = f" and {len(torn) - _SHOWN} more" if len(torn) > _SHOWN else ""
    lines = tuple(raw.lines[row] for rows in torn.values() for row in rows)
    many = f"{len(torn)} of {len(groups)} series {'has' if len(torn) == 1 else 'have'}"
    message = (
        f"{many} more than one answer ({told}{more}): a series by {series!r} has one, the same in all its rows; cut such "
        "series in two, or name another column with --series or --label"
    )
    return [Problem(lines[0], message, True, lines)]


def _in_order(
    raw: Table, columns: LongColumns, groups: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], str | None, list[Problem]]:
    """(the rows of each series in the order of time, as they come where there is no such column; `LongColumns.dates`; what is
    wrong)."""
    time = columns.time
    if time is None:
        return groups, None, []
    read = stamps_of(raw.columns[time], columns.dates)
    problems = _no_moments(raw, time, read, columns.dates)
    moments = read.moments
    if moments is None or problems:
        return groups, read.form, problems
    ordered: dict[str, np.ndarray] = {}
    turned: list[str] = []
    uneven: list[str] = []
    for name, rows in groups.items():
        own = moments[rows]
        if (np.diff(own) < 0).any():
            turned.append(name)
            order = np.argsort(own, kind="stable")
            rows, own = rows[order], own[order]
        again = np.flatnonzero(np.diff(own) == 0)
        if again.size:
            twice = [raw.lines[row] for row in rows[[again[0], again[0] + 1]]]
            message = (
                f"series {name!r} has a moment of {time!r} twice ({places(twice, raw.unit)}): keep one row of each, or "
                "name another column with --time"
            )
            problems.append(Problem(twice[0], message, True, tuple(twice)))
        elif is_uneven(own):
            uneven.append(name)
        ordered[name] = rows
    for some, what in ((turned, "not in the order of time, so rows were sorted"), (uneven, UNEVEN)):
        if some:
            shown = ", ".join(map(repr, some[:_SHOWN])) + (" …" if len(some) > _SHOWN else "")
            many = "1 series is" if len(some) == 1 else f"{len(some)} series are"
            line = raw.lines[groups[some[0]][0]]
            problems.append(Problem(line, f"{many} {what} ({shown})", fatal=False))
    return ordered, columns.dates or read.form, problems


def _no_moments(raw: Table, time: str, read: Moments, known: str | None) -> list[Problem]:
    """What is wrong with a column of moments, which is fatal."""
    if not read.wrong:
        return []
    where = [raw.lines[place] for place in read.wrong]
    first = raw.columns[time][read.wrong[0]]
    if read.moments is not None and read.form is not None:
        message = unlike(time, read, str(first), places(where, raw.unit), known)
    else:
        what = "is empty" if is_void(first) else "holds no moment"
        message = f"{time!r} {what} ({places(where, raw.unit)}): write the moment, or name another column with --time"
    return [Problem(where[0], message, True, tuple(where))]


def _reason(layout: _Layout, count: int) -> str:
    columns = layout.columns
    shown = ", ".join(map(repr, columns.channels[:8])) + (" …" if len(columns.channels) > 8 else "")
    when = "the order of the rows" if columns.time is None else f"the order of {columns.time!r}"
    unread = f" Not read, since they hold no numbers: {', '.join(map(repr, layout.unread))}." if layout.unread else ""
    return (
        f"A row a step: {count} series by the column {columns.series!r}, in {when}, of the "
        f"{'number' if len(columns.channels) == 1 else 'numbers'} {shown}; say otherwise with --series COLUMN and --time "
        f"COLUMN.{unread}"
    )
