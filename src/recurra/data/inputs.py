"""A column of a table as inputs: texts, or numeric sequences, with the rows named that are neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recurra.data.checking import Problem, as_sequence, check_series, left_out
from recurra.data.tables import Table
from recurra.data.values import is_missing, label_text


def inputs_of(table: Table, column: str) -> tuple[list[Any], list[Problem]]:
    """A column as texts or as float32 arrays [T, F], None where a row has no such thing."""
    values = table.columns[column]
    if holds_series(values):
        return _series(values, table)
    inputs, problems = texts_of(values, table)
    empty = [i for i, value in enumerate(inputs) if value is not None and not value.strip()]
    problems += left_out([table.lines[i] for i in empty], table.unit, "has an empty text", "have an empty text")
    for i in empty:
        inputs[i] = None
    return inputs, problems


def kept_of(inputs: Sequence[Any], table: Table) -> tuple[list[int], list[Any], list[int], list[Problem]]:
    """(places of the rows that can be used, their inputs, their lines, the problems of numeric sequences)."""
    kept = [i for i, value in enumerate(inputs) if value is not None]
    lines = [table.lines[i] for i in kept]
    found = [inputs[i] for i in kept]
    if not found or not isinstance(found[0], np.ndarray):
        return kept, found, lines, []
    usable, problems = check_series(found, lines, table.unit, () if table.long is None else table.long.channels)
    kept, found, lines = ([part[i] for i in usable] for part in (kept, found, lines))
    return kept, found, lines, problems


def named_of(kept: Sequence[int], table: Table) -> list[str] | None:
    """How the rows at `kept` are called; None where they have no names."""
    return None if table.ids is None else [table.ids[i] for i in kept]


def holds_series(values: list) -> bool:
    """Lists or arrays of numbers, by the first that holds anything. A list of words is text."""
    first = next((value for value in values if isinstance(value, (list, tuple, np.ndarray)) and len(value)), None)
    if first is None:
        # arrays of no steps are sequences all the same
        return any(isinstance(value, np.ndarray) and value.dtype.kind in "fiu" for value in values)
    return not isinstance(first[0], str)


def texts_of(values: list, table: Table) -> tuple[list[str | None], list[Problem]]:
    """A column as texts, None where a row has nothing that can be read as text. Lists of words are joined."""
    texts: list[str | None] = []
    wrong: list[int] = []
    for line, value in zip(table.lines, values, strict=True):
        if is_missing(value):
            texts.append("")
        elif isinstance(value, str):
            texts.append(value)
        elif isinstance(value, (list, tuple, np.ndarray)) and all(isinstance(word, str) for word in value):
            texts.append(" ".join(value))
        elif isinstance(value, (int, float)):
            texts.append(label_text(value))
        else:
            texts.append(None)
            wrong.append(line)
    problems = left_out(wrong, table.unit, "has no text in its text column", "have no text in their text column")
    return texts, problems


def _series(values: list, table: Table) -> tuple[list[np.ndarray | None], list[Problem]]:
    """A column as float32 arrays [T, F], None where a row is no sequence of numbers."""
    arrays: list[np.ndarray | None] = []
    wrong: dict[str, list[int]] = {}
    for line, value in zip(table.lines, values, strict=True):
        if isinstance(value, (list, tuple, np.ndarray)):
            array = as_sequence(value)
        else:
            array = "has no sequence" if is_missing(value) else "has something else than a sequence"
        arrays.append(None if isinstance(array, str) else array)
        if isinstance(array, str):
            wrong.setdefault(array, []).append(line)
    problems = []
    for reason, lines in wrong.items():
        problems += left_out(lines, table.unit, reason, "each " + reason)
    return arrays, problems
