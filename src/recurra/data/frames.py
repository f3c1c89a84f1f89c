"""Tables of series, read and judged: whatever is missing, repeated, out of order or no number is named by its lines.

`layouts` says which columns matter, `dates` reads moments, `series` holds the result.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recurra.data.checking import Problem, left_out, places
from recurra.data.columns import Layout
from recurra.data.dates import moments_of, unlike
from recurra.data.layouts import FrameChoices
from recurra.data.numbers import ENDLESS, numbers_of
from recurra.data.seasons import find_season
from recurra.data.series import Series, SeriesDataset
from recurra.data.steps import Step, as_known, step_of
from recurra.data.tables import Table
from recurra.data.values import is_void

_CHOICE = "choose what stands there with --fill previous, linear, zero or mean"
_UNEVEN = "take the rows as they are, the waits between them as an input, with --fill gaps"
_MOST = 1_000_000
"""More rows than these, and a hundred times those that are there, are not filled: a moment is wrong."""
_PACKED = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])?")
_COARSE = 64
"""Steps of single precision; a series whose standard deviation is less of them is told of."""
_SAME = 5  # waits of one length, one after another, that are a new step and no gaps


@dataclass
class _Rows:
    """The rows of one series as they came: where they stand, when, and what is in them (NaN where nothing is)."""

    name: str
    lines: np.ndarray
    moments: np.ndarray
    values: np.ndarray
    more: np.ndarray
    kind: list[str] = field(default_factory=list)


def read(raw: Table, layout: Layout, choices: FrameChoices) -> tuple[SeriesDataset, list[Problem]]:
    """All series of a table, and what is wrong with them; a problem is fatal where a choice of the person is needed."""
    problems: list[Problem] = list(raw.problems)
    moments, dated, form, told = _moments(raw, layout, choices.dates)
    if choices.judged and not dated:
        told = [*told, *_packed_dates(raw, layout)]
    problems += told
    if any(problem.fatal for problem in told):
        return _empty(raw), problems
    names = (*layout.past, *layout.ahead, *layout.static)
    if layout.form == "rows":
        runs, told = _by_row(raw, layout)
    else:
        runs, told = _by_column(raw, layout, moments, names)
    problems += told
    step = as_known(step_of([np.unique(run.moments) for run in runs], dated), choices.step)
    if choices.step is not None and dated and _fills(choices) and any(run.name in choices.before for run in runs):
        # the wait since the row before is a hole of so many steps, however few rows there are to tell a step by
        step = choices.step
    found: list[Series] = []
    lines: list[int] = []
    for run in runs:
        told, series = _judged(run, raw.unit, step, layout, choices)
        problems += told
        if series is not None:
            found.append(series)
            lines.append(int(run.lines[0]))
    gaps = choices.fill == "gaps"
    past = (*layout.past, "gap") if gaps else layout.past
    columns = (past, layout.ahead, layout.static)
    waiting = runs and _fills(choices) and all(run.name in choices.before for run in runs)
    if not found and not waiting and not any(problem.fatal for problem in problems):
        why = {line for problem in problems for line in problem.lines}
        problems.append(Problem(None, "no series has any values", True, tuple(sorted(why))))
    season = choices.season or find_season([one.values for one in found], step.season)
    horizon = choices.horizon or usual_horizon([len(one) for one in found], season)
    if choices.judged:
        problems += _short(found, lines, horizon, raw.unit)
    value = layout.values[0] if layout.form == "long" and layout.series is not None else None
    return SeriesDataset(
        found, step, lines, raw.name, columns, gaps, horizon, season, value=value, dates=form
    ), problems


def _fills(choices: FrameChoices) -> bool:
    return choices.fill not in (None, "gaps")


def usual_horizon(sizes: Sequence[int], season: int) -> int:
    """Values to forecast where nobody says how many: two seasons, or a tenth of the shortest series where that is less."""
    shortest = min(sizes, default=1)
    return max(1, min(2 * season if season > 1 else 10, shortest // 10 or 1))


def _short(found: Sequence[Series], lines: Sequence[int], horizon: int, unit: str) -> list[Problem]:
    short = [place for place, one in enumerate(found) if len(one) <= horizon]
    if not short:
        return []
    where = [lines[place] for place in short]
    names = ", ".join(repr(found[place].name) for place in short[:5]) + (" …" if len(short) > 5 else "")
    many = "1 series is" if len(short) == 1 else f"{len(short)} series are"
    fatal = len(short) == len(found)
    what = "give longer ones, or a smaller --horizon" if fatal else "little is learnt of them, and nothing measured"
    message = f"{many} no longer than the horizon of {horizon} ({names}; {places(where, unit)}): {what}"
    return [Problem(where[0], message, fatal, tuple(where))]


def _empty(raw: Table) -> SeriesDataset:
    return SeriesDataset([], Step(), [], raw.name)


def _moments(raw: Table, layout: Layout, known: str | None) -> tuple[np.ndarray, bool, str | None, list[Problem]]:
    """(moments int64 [N], whether they are dates, `Moments.form`, what is wrong with them)."""
    if layout.time is None:
        return np.arange(len(raw.lines)), False, None, []
    values = raw.columns[layout.time]
    blank = [place for place, value in enumerate(values) if is_void(value)]
    problems = []
    if blank:
        where = [raw.lines[place] for place in blank]
        message = f"{layout.time!r} is empty ({places(where, raw.unit)}): write the moment, or remove such rows"
        problems.append(Problem(where[0], message, True, tuple(where)))
        return np.zeros(0), False, None, problems
    read = moments_of(values, known)
    if read.moments is None:
        message = (
            f"the column {layout.time!r} holds no moments (as {values[0]!r}): write them as 2024-01-31 or "
            "2024-01-31 18:30, or name another with --time COLUMN"
        )
        return np.zeros(0), False, None, [Problem(raw.lines[0], message, True)]
    if read.wrong:
        where = [raw.lines[place] for place in read.wrong]
        message = unlike(layout.time, read, str(values[read.wrong[0]]), places(where, raw.unit), known)
        problems.append(Problem(where[0], message, True, tuple(where)))
    return read.moments, read.example != "numbers", read.form, problems


def _packed_dates(raw: Table, layout: Layout) -> list[Problem]:
    """Whole numbers that are dates without their dashes, as 20240131 or 202401: as numbers they lack most moments."""
    texts = [] if layout.time is None else {str(value).strip() for value in raw.columns[layout.time]}
    if len(texts) < 2 or not all(_PACKED.fullmatch(text) for text in texts) or len(set(map(len, texts))) > 1:
        return []
    if len(np.unique(np.diff(sorted(map(int, texts))))) == 1:
        return []
    first = min(texts)
    meant = "-".join(part for part in (first[:4], first[4:6], first[6:]) if part)
    message = f"{layout.time!r} holds dates written as numbers (as {first}): write {meant}, and the others so"
    return [Problem(raw.lines[0], message, True)]


def _finite(raw: Table, column: str) -> tuple[np.ndarray, list[Problem]]:
    """As `numbers_of`; what is infinite is named too, and taken for missing."""
    found, problems = numbers_of(raw, column)
    endless = np.flatnonzero(np.isinf(found) | (np.abs(found) > ENDLESS))
    if len(endless):
        where = [raw.lines[place] for place in endless]
        message = f"{column!r} is infinite ({places(where, raw.unit)}), taken for missing"
        problems.append(Problem(where[0], message, False, tuple(where)))
        found[endless] = np.nan
    return found, problems


def _by_column(
    raw: Table, layout: Layout, moments: np.ndarray, names: Sequence[str]
) -> tuple[list[_Rows], list[Problem]]:
    problems: list[Problem] = []
    lines = np.array(raw.lines)
    more = np.zeros((len(lines), len(names)))
    for place, name in enumerate(names):
        more[:, place], told = _finite(raw, name)
        problems += told
    runs = []
    if layout.series is None:
        groups = {"": np.arange(len(lines))}
    else:
        by_name: dict[str, list[int]] = defaultdict(list)
        blank = []
        for place, value in enumerate(raw.columns[layout.series]):
            # NaN is what pandas has for nothing; a series may be called 'NaN' or 'NA', though
            if value is None or (isinstance(value, float) and np.isnan(value)) or not str(value).strip():
                blank.append(raw.lines[place])
            else:
                by_name[str(value).strip()].append(place)
        problems += left_out(blank, raw.unit, "names no series", "name no series")
        groups = {name: np.array(rows) for name, rows in by_name.items()}
    for column in layout.values:
        values, told = _finite(raw, column)
        problems += told
        for name, rows in groups.items():
            title = name or column
            runs.append(_Rows(title, lines[rows], moments[rows], values[rows], more[rows]))
    return runs, problems


def _by_row(raw: Table, layout: Layout) -> tuple[list[_Rows], list[Problem]]:
    assert layout.series is not None
    problems: list[Problem] = []
    columns = []
    for name in layout.values:
        values, told = _finite(raw, name)
        columns.append(values)
        problems += told
    table = np.stack(columns, axis=1)
    runs = []
    for place, name in enumerate(raw.columns[layout.series]):
        present = np.flatnonzero(~np.isnan(table[place]))
        values = table[place, : present[-1] + 1] if len(present) else table[place, :0]
        moments = np.arange(len(values))
        lines = np.full(max(1, len(values)), raw.lines[place])
        runs.append(_Rows(str(name), lines, moments, values, np.zeros((len(values), 0))))
    return runs, problems


def _judged(
    run: _Rows, unit: str, step: Step, layout: Layout, choices: FrameChoices
) -> tuple[list[Problem], Series | None]:
    """One series in order, at even steps and without holes; or what keeps it from that."""
    who = f"series {run.name!r}"
    if not len(run.values) or np.isnan(run.values).all():
        line = int(run.lines[0]) if len(run.lines) else None
        waits = _fills(choices) and run.name in choices.before
        what = (
            "has no new value: what is missing is filled when one comes" if waits else "has no values and is left out"
        )
        return [Problem(line, f"{who} {what}", False, (), True)], None
    problems: list[Problem] = []
    run, told = _in_order(run, unit, who, choices)
    problems += told
    run, gone_on = _after(run, step, choices)
    # a moment whose value is missing at the end is one for which only what is known ahead stands there
    there = np.flatnonzero(~np.isnan(run.values))
    first, last = int(there[0]), int(there[-1]) + 1
    if first:
        message = f"{who} begins with {first} empty values ({places(run.lines[:first].tolist(), unit)}), left out"
        problems.append(Problem(int(run.lines[0]), message, False, tuple(run.lines[:first].tolist())))
    size = len(layout.past)
    run = _part(run, first, len(run.values) if layout.ahead else last)
    end = last - first
    run, end, told = _evened(run, end, unit, who, step, choices)
    problems += told
    values, told = _filled(run.values[:end], run.lines, unit, who, "its values", choices)
    problems += told
    gap = np.log2(np.maximum(1.0, _waits(run.moments[:end], step)))[:, None]
    past = run.more[:end, :size]
    ahead = run.more[:, size : size + len(layout.ahead)]
    static = run.more[:, size + len(layout.ahead) :]
    for part, names in ((past, layout.past), (ahead, layout.ahead)):
        for place, name in enumerate(names):
            part[:, place], told = _filled(part[:, place], run.lines, unit, who, repr(name), choices)
            problems += told
    still = [float(column[~np.isnan(column)][0]) if (~np.isnan(column)).any() else 0.0 for column in static.T]
    for place, name in enumerate(layout.static):
        there = static[:, place][~np.isnan(static[:, place])]
        if len(there) and (there != there[0]).any():
            message = f"{name!r} changes in {who}, so it is not static: its first value, {there[0]:g}, stands for all"
            problems.append(Problem(int(run.lines[0]), message, fatal=False))
    if gone_on:
        values, past, ahead, gap, end = values[1:], past[1:], ahead[1:], gap[1:], end - 1
        run = _part(run, 1, len(run.values))
    if end > 1 and (values == values[0]).all():
        message = f"{who} is constant at {values[0]:g}: there is nothing to learn of it"
        problems.append(Problem(int(run.lines[0]), message, fatal=False))
    problems += _coarse(values, int(run.lines[0]), who) if choices.judged else []
    if choices.fill == "gaps":
        past = np.concatenate([past, gap], axis=1)
    series = Series(run.name, run.moments[:end], values, past, ahead, np.array(still))
    return problems, series


def _coarse(values: np.ndarray, line: int, who: str) -> list[Problem]:
    """Told where a series changes so little, for where it stands, that single precision blurs what it does."""
    level, spread = float(np.abs(values).max()), float(values.std())
    if not 0 < spread < _COARSE * float(np.spacing(np.float32(level))):
        return []
    message = (
        f"{who} stands at {level:.3g} and changes by some {spread:.2g}, which single precision, in steps of "
        f"{np.spacing(np.float32(level)):.2g} there, can hardly hold: take {np.median(values):.6g} off its values"
    )
    return [Problem(line, message, fatal=False)]


def _after(run: _Rows, step: Step, choices: FrameChoices) -> tuple[_Rows, bool]:
    """The rows with the one before them in front, where they go on from one and holes are filled; and whether they do."""
    if not _fills(choices) or run.name not in choices.before:
        return run, False
    moment, row = choices.before[run.name]
    moment = moment if step.dated else int(run.moments[0]) - step.micros
    if moment >= run.moments[0]:
        return run, False
    parts = (run.lines[:1] - 1, [moment], row[:1], row[None, 1:])
    lines, moments, values, more = (
        np.concatenate(pair) for pair in zip(parts, (run.lines, run.moments, run.values, run.more), strict=True)
    )
    return _Rows(run.name, lines, moments, values, more), True


def _part(run: _Rows, first: int, last: int) -> _Rows:
    lines = run.lines[first:last] if len(run.lines) >= last else run.lines
    return _Rows(run.name, lines, run.moments[first:last], run.values[first:last], run.more[first:last])


def _in_order(run: _Rows, unit: str, who: str, choices: FrameChoices) -> tuple[_Rows, list[Problem]]:
    problems = []
    back = np.flatnonzero(np.diff(run.moments) < 0) + 1
    if len(back):
        where = run.lines[back].tolist()
        message = f"{who} is not in the order of time ({places(where, unit)}), so its rows were sorted"
        problems.append(Problem(where[0], message, False, tuple(where)))
        order = np.argsort(run.moments, kind="stable")
        run = _Rows(run.name, run.lines[order], run.moments[order], run.values[order], run.more[order])
    again = np.flatnonzero(np.diff(run.moments) == 0) + 1
    if len(again):
        where = run.lines[again].tolist()
        chosen = choices.fill is not None
        what = (
            "so the last of each stands" if chosen else "remove all but one, or keep the last of each with any --fill"
        )
        message = f"{who} has moments more than once ({places(where, unit)}): {what}"
        problems.append(Problem(where[0], message, not chosen, tuple(where)))
        last = np.append(np.diff(run.moments) != 0, True)
        run = _Rows(run.name, run.lines[last], run.moments[last], run.values[last], run.more[last])
    return run, problems


def _waits(moments: np.ndarray, step: Step) -> np.ndarray:
    """How many steps passed before each moment, 1 before the first."""
    spots = step.places(moments)
    return np.diff(spots, prepend=spots[0] - 1 if len(spots) else 0)


def _evened(
    run: _Rows, end: int, unit: str, who: str, step: Step, choices: FrameChoices
) -> tuple[_Rows, int, list[Problem]]:
    """The rows at even steps, with NaN where moments are missing; as they are where that was chosen."""
    spots = step.places(run.moments)
    if choices.fill == "gaps" or len(spots) < 2:
        return run, end, []
    whole = np.rint(spots)
    odd = np.flatnonzero(np.abs(spots - whole) > 1e-6)
    if len(odd):
        where = run.lines[odd].tolist()
        message = f"{who} is not measured every {step.words} ({places(where, unit)}): {_UNEVEN}"
        return run, end, [Problem(where[0], message, True, tuple(where))]
    gaps = np.diff(whole).astype(int)
    changed = _new_step(gaps)
    if changed is not None:
        line, often = int(run.lines[changed]), int(gaps[changed])
        now = replace(step, months=step.months * often, micros=step.micros * often).words
        message = f"{who} is measured every {step.words}, and from {unit} {line} on every {now}: {_UNEVEN}"
        return run, end, [Problem(line, message, True)]
    holes = np.flatnonzero(gaps > 1)
    if not len(holes):
        return run, end, []
    missing = int((gaps[holes] - 1).sum())
    where = run.lines[holes].tolist()
    chosen = choices.fill is not None
    what = f"filled ({choices.fill})" if chosen else _CHOICE
    message = f"{who} lacks {missing} moment{'s' * (missing > 1)}, after {places(where, unit)}: {what}"
    problem = Problem(where[0], message, not chosen, tuple(where))
    if len(whole) + missing > max(_MOST, 100 * len(whole)):
        what = "too many to fill, so one may be wrong: mend it, or " + _UNEVEN
        message = f"{who} lacks {missing} moments, after {places(where, unit)}: {what}"
        return run, end, [Problem(where[0], message, True, tuple(where))]
    at = (whole - whole[0]).astype(int)
    size = at[-1] + 1
    lines = np.repeat(run.lines, np.append(gaps, 1))
    moments = np.array([run.moments[0], *step.after(int(run.moments[0]), size - 1)])
    values, more = np.full(size, np.nan), np.full((size, run.more.shape[1]), np.nan)
    values[at], more[at] = run.values, run.more
    return _Rows(run.name, lines, moments, values, more), int(at[end - 1]) + 1, [problem]


def _new_step(gaps: np.ndarray) -> int | None:
    """Where steps of another length begin, several of them in a row; None where there are but holes."""
    count = 0
    for place, gap in enumerate(gaps):
        count = count + 1 if gap > 1 and (count == 0 or gap == gaps[place - 1]) else int(gap > 1)
        if count == _SAME:
            return place - _SAME + 1
    return None


def _filled(
    values: np.ndarray, lines: np.ndarray, unit: str, who: str, what: str, choices: FrameChoices
) -> tuple[np.ndarray, list[Problem]]:
    holes = np.flatnonzero(np.isnan(values))
    if not len(holes):
        return values, []
    where = list(Counter(lines[np.minimum(holes, len(lines) - 1)].tolist()))
    way = choices.fill
    if way is None:
        count = "1 value" if len(holes) == 1 else f"{len(holes)} values"
        message = f"{who} lacks {count} in {what} ({places(where, unit)}): {_CHOICE}"
        return np.nan_to_num(values), [Problem(where[0], message, True, tuple(where))]
    known = np.flatnonzero(~np.isnan(values))
    if not len(known) or way == "zero":
        filled = np.nan_to_num(values)
    elif way == "linear":
        filled = np.interp(np.arange(len(values)), known, values[known])
    elif way == "mean":
        filled = np.where(np.isnan(values), values[known].mean(), values)
    else:
        before = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
        filled = values[np.maximum(before, known[0])]
    message = f"{who} lacks {len(holes)} of {what} ({places(where, unit)}), filled ({way})"
    return filled, [Problem(where[0], message, False, tuple(where))]
