"""What the data is for and which columns matter, guessed from names and contents, with reasons a person can answer.

Guesses only; rows are read and judged in `reading` and `checking`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from recurra.data import layouts, long, pairs, regression, tagged
from recurra.data.columns import Columns, Guess, by_name, first_values, require
from recurra.data.datasets import LongColumns
from recurra.data.inputs import holds_series
from recurra.data.layouts import FrameChoices
from recurra.data.numbers import is_numeric
from recurra.data.sources import Documents, open_source
from recurra.data.tables import LABEL_NAMES, SERIES_NAMES, TEXT_NAMES, Table
from recurra.data.values import has_parts, is_listed
from recurra.data.wide import gathered
from recurra.errors import DataError, UsageError

TASKS = ("language", "classify", "regress", "tag", "translate", "forecast")
NO_CHOICES = FrameChoices()
SERIES_TASKS = (None, "classify", "regress")
"""What is asked for where a table of numbers may be a series a row."""
_ANSWERS = {
    "tag": "tokens and a tag for each",
    "translate": "a source and a target a row",
    "regress": "an input and a number a row",
    "forecast": "a table with a column of dates and columns of numbers",
}
_MANY = 20  # rows from which it tells something that no value comes twice
_NUMBER_OR_DATE = re.compile(r"\s*[-+]?[\d.,:/\-+eET年月日 ]*\d[\d.,:/\-+eETZ年月日 ]*$")
_IDENTIFIERS = {"id", "index", "idx", "row", "unnamed: 0", "编号", "序号"}


def guess(
    source: Any,
    task: str | None = None,
    text: str | None = None,
    label: str | None = None,
    tags: str | None = None,
    target: str | None = None,
) -> Guess:
    """Guess from a source; what is given is taken as given.

    Raises `DataError` where no guess is possible or a named column does not exist, `UsageError` for an unknown task.
    A generator can be read only once, so it is refused here: make it a list first.
    """
    if isinstance(source, Iterator):
        raise DataError("A generator can be read only once", fix="Make a list of it first: list(source)")
    check_task(task)
    columns = Columns(text, label, tags, target)
    raw = open_source(source, task=task, wanted=columns.named)
    raw, told = shaped(raw, task, columns)
    found = choose(raw, task, columns)
    found.reasons[:0] = told
    return found


def shaped(
    raw: Documents | Table, task: str | None, columns: Columns, frame: FrameChoices = NO_CHOICES,
    known: LongColumns | None = None, need_labels: bool = True, judged: bool = True,
) -> tuple[Documents | Table, list[str]]:  # fmt: skip
    """(a table that holds series in its rows or columns as one with a column of series, what was done); else the source.

    Raises `UsageError` where columns of a table with a row a step were named for another one.
    """
    if not isinstance(raw, Table) or task not in SERIES_TASKS:
        return raw, []
    if columns.text in (long.SERIES, long.STEPS) and columns.text not in raw.columns:
        # so the column was called that another table of these was gathered to
        columns = replace(columns, text=None)
    by_row = long.gathered(raw, columns, frame, known, task=task, need_labels=need_labels, judged=judged)
    if by_row is not None:
        return by_row[0], [by_row[1]]
    if task is not None and (frame.series or frame.time):
        option = "--series" if frame.series else "--time"
        raise UsageError(
            f"{option} is for tables with a row a step and columns of numbers", got=f"{raw.name}, --task {task}",
            fix=f"Leave out {option}, or name the column with the answers with --label",
        )  # fmt: skip
    if layouts.looks_like(raw, frame):
        return raw, []
    found, told = gathered(raw, columns)
    return found, [] if told is None else [told]


def check_task(task: str | None) -> None:
    """Raise `UsageError` for a task that does not exist."""
    if task is not None and task not in TASKS:
        near = get_close_matches(str(task), TASKS, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else "Leave it out to have it guessed"
        raise UsageError("No such task", got=repr(task), expected=" or ".join(map(repr, TASKS)), fix=fix)


def choose(
    raw: Documents | Table, task: str | None, columns: Columns, need_labels: bool = True,
    frame: FrameChoices = NO_CHOICES,
) -> Guess:  # fmt: skip
    """Guess for a source that is already open. Without `need_labels` a missing column of answers is no obstacle."""
    if isinstance(raw, Documents):
        return _for_documents(raw, task, columns, need_labels)
    reasons: list[str] = []
    if not raw.has_header:
        names = ", ".join(raw.columns)
        reasons.append(
            f"The first row looks like data, so the columns are called {names}; add a header row to name them."
        )
    plain = task is None and not columns.named and raw.long is None and layouts.looks_like(raw, frame)
    if task == layouts.TASK or plain:
        return layouts.choose(raw, frame, task is not None, reasons)
    # the names of two columns say more than what can be seen in them
    for other in (pairs, tagged) if pairs.are_named(raw, columns) else (tagged, pairs):
        if task == other.TASK or (task is None and other.looks_like(raw, columns)):
            return other.choose(raw, columns, need_labels, asked=task is not None, reasons=reasons)
    if columns.tags or columns.target:
        option, fit = ("--tags", "tag") if columns.tags else ("--target", "translate")
        raise UsageError(
            f"{option} is not for this task", got=f"task {task!r}", fix=f"Leave it out, or take --task {fit}"
        )
    return _for_one_input(raw, task, columns, need_labels, reasons)


def _for_one_input(raw: Table, task: str | None, columns: Columns, need_labels: bool, reasons: list[str]) -> Guess:
    """A text to continue, or an input to classify."""
    text, label = columns.text, columns.label
    if text is not None and text == label:
        raise UsageError(f"The column {text!r} cannot be both the text and the label")
    if text is not None:
        require(text, raw, "--text")
        reasons.append(f"Text: the column {text!r}, as asked.")
    if task == regression.TASK or (task is None and regression.looks_like(raw, columns)):
        return _for_numbers(raw, task, columns, need_labels, reasons)
    if label is not None and (need_labels or label in raw.columns):
        require(label, raw, "--label")
        reasons.append(f"Label: the column {label!r}, as asked.")
    elif label is not None:
        label = None
    if text is None:
        text, reason = _find_text(raw, label)
        reasons += [] if raw.long is not None else [reason, *_unread(raw, text, label)]
    if label is None and task != "language":
        label, reason = _find_label(raw, text)
        reasons.append(reason)
    if task is None:
        task, reason = _find_task(raw, text, label, need_labels)
        reasons.append(reason)
    if task == "language":
        if _is_series(raw.columns[text]):
            raise DataError(
                f"{raw.name}: a language model needs text, and the column {text!r} holds numbers",
                got="task 'language'",
                fix="Choose another column with --text, or --task classify",
            )
        return Guess(task, text, None, reasons)
    if label is None and need_labels:
        raise DataError(
            f"{raw.name} has no column that looks like a label",
            got=f"columns {', '.join(raw.columns)}",
            fix="Name it with --label COLUMN, or learn to write such text with --task language",
        )
    return Guess(task, text, label, reasons)


def _for_numbers(raw: Table, task: str | None, columns: Columns, need_labels: bool, reasons: list[str]) -> Guess:
    """An input with one or more numbers to tell of it."""
    text = columns.text
    if text is None:
        text, reason = _find_text(raw, columns.label)
        reasons += [] if raw.long is not None else [reason]
    label, reason = regression.targets_of(raw, columns.label, text, need_labels)
    reasons.append(reason)
    why = "as asked." if task is not None else "since the answers are amounts; say otherwise with --task classify."
    reasons.append(f"Task: regress, {why}")
    return Guess(regression.TASK, text, label, reasons)


def _for_documents(raw: Documents, task: str | None, columns: Columns, need_labels: bool) -> Guess:
    if columns.named:
        raise DataError(
            f"{raw.name} is plain text without columns",
            got=f"column {columns.named[0]!r}",
            fix="Leave out the names of columns, such as --text",
        )
    if task in _ANSWERS and need_labels:
        answers = _ANSWERS[task]
        raise DataError(f"{raw.name} is plain text without answers", expected=answers)
    if task == "classify" and need_labels:
        raise DataError(
            f"{raw.name} is plain text without labels",
            expected="a label and a text a row",
            fix="Give a .tsv, .csv or .jsonl file, lines like '__label__good a fine film', or (input, label) pairs",
        )
    if task is not None:
        return Guess(task, None, None, [f"Task: {task}, as asked."])
    reason = "Plain text without labels, so a model that continues it (language); say otherwise with --task classify."
    return Guess("language", None, None, [reason])


def _find_text(raw: Table, label: str | None) -> tuple[str, str]:
    otherwise = "say otherwise with --text COLUMN"
    candidates = [column for column in raw.columns if column != label]
    series = [column for column in candidates if _is_series(raw.columns[column])]
    texts = [column for column in candidates if _is_text(raw.columns[column])]
    named = by_name([*texts], TEXT_NAMES) or by_name(series, SERIES_NAMES)
    if named:
        kind = "Numeric sequences" if named in series else "Text"
        return named, f"{kind}: the column {named!r}, by its name; {otherwise}."
    if series:
        return series[0], f"Numeric sequences: the column {series[0]!r}, the first of lists of numbers; {otherwise}."
    labels = by_name(candidates, LABEL_NAMES)
    texts = [column for column in texts if column.lower() not in _IDENTIFIERS and _is_prose(raw.columns[column])]
    # what is called as labels are is a text only where nothing stands beside it
    texts = [column for column in texts if column != labels] or (texts if len(candidates) == 1 else [])
    if texts:
        longest = max(texts, key=lambda column: _prose_weight(raw.columns[column]))
        return longest, f"Text: the column {longest!r}, the one with the longest texts; {otherwise}."
    raise DataError(
        f"{raw.name} has no column of texts or numeric sequences",
        got=f"columns {', '.join(raw.columns)}",
        fix="Name the text with --text COLUMN; numeric sequences go in .npz (x, y), as lists in .jsonl, or a step a row with "
        "--series COLUMN",
    )


def _unread(raw: Table, text: str, label: str | None) -> list[str]:
    """A sentence on several columns of numbers that stand beside a text and are not read."""
    if not _is_text(raw.columns[text]):
        return []
    others = [name for name in raw.columns if name not in (text, label) and name.lower() not in _IDENTIFIERS]
    found = [name for name in others if name.lower() not in LABEL_NAMES and is_numeric(raw.columns[name])]
    if len(found) < 2:
        return []
    shown = ", ".join(map(repr, found[:5])) + (" …" if len(found) > 5 else "")
    return [f"Numbers that are not read: {shown}; where rows are steps of series, say so with --series COLUMN."]


def _find_label(raw: Table, text: str) -> tuple[str | None, str]:
    otherwise = "say otherwise with --label COLUMN"
    candidates = [column for column in raw.columns if column != text and _could_be_label(raw.columns[column])]
    named = by_name(candidates, LABEL_NAMES)
    if named:
        return named, f"Label: the column {named!r}, by its name; {otherwise}."
    counts = {}
    for column in candidates:
        values = [str(value) for value in first_values(raw.columns[column])]
        distinct = len(set(values))
        few = 2 * distinct <= len(values) or (len(raw.columns) == 2 and not raw.has_header and distinct <= 50)
        if values and few and column.lower() not in _IDENTIFIERS and not all(map(_is_measured, values)):
            counts[column] = distinct
    useful = {column: count for column, count in counts.items() if count > 1} or counts
    if not useful:
        return None, f"No column looks like a label; name one with --label COLUMN ({', '.join(raw.columns)})."
    fewest = min(useful, key=lambda column: useful[column])
    others = ", ".join(repr(column) for column in useful if column != fewest)
    also = f" (also possible: {others})" if others else ""
    return fewest, f"Label: the column {fewest!r}, which has {useful[fewest]} different values{also}; {otherwise}."


def _could_be_label(values: list) -> bool:
    """Single values that come again: not lists, and not another one in nearly every row, as translations are."""
    first = first_values(values)
    if 2 * sum(map(has_parts, first)) > len(first):
        return False
    present = [str(value) for value in first]
    return len(present) < _MANY or len(set(present)) <= 0.9 * len(present)


def _find_task(raw: Table, text: str, label: str | None, need_labels: bool) -> tuple[str, str]:
    if label is not None or not need_labels or _is_series(raw.columns[text]):
        what = "inputs with labels" if label is not None else "inputs without labels"
        return "classify", f"Task: classify, since these are {what}; say otherwise with --task language."
    return (
        "language",
        "Task: language, since there is text and no label; say otherwise with --task classify --label COLUMN.",
    )


def _is_series(values: list) -> bool:
    """Lists or arrays of numbers, by the first row that holds anything. A list of words is text."""
    return holds_series(first_values(values))


def _is_text(values: list) -> bool:
    first = first_values(values)[:20]
    return bool(first) and all(isinstance(v, str) or (is_listed(v) and len(v) and isinstance(v[0], str)) for v in first)


def _is_prose(values: list) -> bool:
    """Text that is more than numbers and dates."""
    return not all(
        isinstance(value, str) and (not value.strip() or _NUMBER_OR_DATE.match(value)) for value in first_values(values)
    )


def _is_measured(value: str) -> bool:
    """A number with a fraction, which no class is called."""
    try:
        return not float(value).is_integer()
    except ValueError:
        return False


def _prose_weight(values: list) -> float:
    """Mean length times the share of different values: a class name may be long, but it comes again."""
    present = first_values(values)
    different = len({str(value) for value in present})
    return different * sum(map(len, present)) / max(len(present), 1) ** 2
