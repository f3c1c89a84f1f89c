"""Columns of numbers: which are some, and their values with what stands there that is no number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recurra.data.checking import Problem, places
from recurra.data.decimals import MEND, is_decimal
from recurra.data.tables import Table
from recurra.data.values import has_parts, is_void, number_of

ENDLESS = 1e30
"""Values beyond it, on either side, count as infinite in series to forecast."""


def is_numeric(values: Sequence[object], empty: bool = False) -> bool:
    """Whether most of the first values are numbers, and none is a date or has parts; `numbers_of` refuses decimal commas."""
    first = [value for value in list(values[:200]) if not is_void(value)]
    if not first:
        return empty or all(is_void(value) for value in values)
    if any(has_parts(value) for value in first):
        return False
    return 2 * sum(number_of(value) is not None or is_decimal(value) for value in first) > len(first)


def is_empty(values: Sequence[object]) -> bool:
    return all(is_void(value) for value in values[:200])


def numbers_of(raw: Table, column: str) -> tuple[np.ndarray, list[Problem]]:
    """A column as float64 [N], NaN where it is empty; what is no number is named, and taken for missing.

    Decimal commas are fatal: nobody wants such numbers to be missing.
    """
    values = raw.columns[column]
    found = np.full(len(values), np.nan)
    wrong, commas = [], []
    for place, value in enumerate(values):
        if is_void(value):
            continue
        number = number_of(value)
        if is_decimal(value):
            commas.append(place)
        elif number is None:
            wrong.append(raw.lines[place])
        else:
            found[place] = number
    problems = []
    if commas:
        where = [raw.lines[place] for place in commas]
        first = str(values[commas[0]]).strip()
        message = f"{column!r} has numbers with commas, as {first!r} ({places(where, raw.unit)}): {MEND}"
        problems.append(Problem(where[0], message, True, tuple(where)))
    if not wrong:
        return found, problems
    message = f"{column!r} holds something that is no number ({places(wrong, raw.unit)}), taken for missing"
    return found, [*problems, Problem(wrong[0], message, False, tuple(wrong))]
