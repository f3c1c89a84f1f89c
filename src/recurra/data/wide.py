"""Tables that hold a series a row, a step a column, as the UCR archive's .tsv files do.

Such a table has columns of numbers and, by choice, one of answers. It becomes a table with one column of series.
"""

from __future__ import annotations

import numpy as np

from recurra.data.columns import Columns, by_name
from recurra.data.tables import LABEL_NAMES, Table
from recurra.data.values import is_void, plain_number

SERIES = "series"
FEWEST = 8
"""Columns of numbers from which a table of numbers alone is a series a row, and not a table of unlike things."""


def gathered(raw: Table, columns: Columns) -> tuple[Table, str | None]:
    """(the table with its columns of numbers as one of series, what was done); the table itself where it is no such one."""
    if columns.text is not None or columns.tags is not None or columns.target is not None:
        return raw, None
    label = _answers(raw, columns.label)
    steps = [name for name in raw.columns if name not in label]
    if len(steps) < FEWEST or len(raw.columns) - len(steps) > max(1, len(label)):
        return raw, None
    arrays = [_column(raw.columns[name]) for name in steps]
    if any(array is None for array in arrays):
        return raw, None
    table = np.stack([array for array in arrays if array is not None], axis=1)
    rows = [row[: _length(row), None] for row in table]
    kept = {name: raw.columns[name] for name in label}
    found = Table({SERIES: rows, **kept}, raw.lines, raw.name, raw.unit, raw.has_header, list(raw.problems), raw.lost)
    return (
        found,
        f"A series a row: the {len(steps)} columns of numbers from {steps[0]!r} to {steps[-1]!r} are its steps.",
    )


def _answers(raw: Table, named: str | None) -> list[str]:
    """The columns with the answers: those that were named; one that is called so; without a header the first or the last."""
    names = list(raw.columns)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() in raw.columns]
    known = by_name(names, LABEL_NAMES)
    if known is not None:
        return [known]
    words = [name for name in names if _column(raw.columns[name]) is None]
    if words:
        return words[:1]
    if raw.has_header:
        return []
    # the archive's files have no header, and whole numbers for classes in front
    return [name for name in names[:1] if _are_classes(raw.columns[name])]


def _are_classes(values: list) -> bool:
    array = _column(values)
    if array is None or not np.isfinite(array).all() or not (array == np.round(array)).all():
        return False
    return len(np.unique(array)) <= max(2, len(array) // 2)


def _column(values: list) -> np.ndarray | None:
    """A column as float32 [N], NaN where a value is missing; None where it is no column of numbers."""
    found = np.empty(len(values), dtype=np.float64)
    for place, value in enumerate(values):
        number = np.nan if is_void(value) else plain_number(value)
        if number is None:
            return None
        found[place] = number
    if np.isnan(found).all():
        return None
    with np.errstate(over="ignore"):
        return found.astype(np.float32)


def _length(row: np.ndarray) -> int:
    """The steps of a row: shorter series leave their last columns empty."""
    there = np.flatnonzero(~np.isnan(row))
    return int(there[-1]) + 1 if there.size else 0
