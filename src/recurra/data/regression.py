"""Numbers for whole sequences: which columns hold them, and rows of inputs with their numbers.

Guessed only where a source says so, or where a column that is called as answers are holds numbers with fractions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from recurra.data.checking import Problem, left_out, too_few_left
from recurra.data.columns import Columns, Guess, by_name, first_values, require
from recurra.data.datasets import RegressionDataset
from recurra.data.decimals import MEND, is_decimal
from recurra.data.inputs import inputs_of, kept_of, named_of
from recurra.data.numbers import ENDLESS
from recurra.data.sources import Documents
from recurra.data.tables import LABEL_NAMES, Table
from recurra.data.values import plain_number
from recurra.errors import DataError

TASK = "regress"
_MANY = 20  # different values from which numbers are amounts and not classes
_NAMES = (*LABEL_NAMES, "value", "amount", "price", "目标", "数值")


def looks_like(raw: Table, columns: Columns) -> bool:
    """Whether the answers of a table are amounts, by what its source says or by their fractions."""
    if raw.task is not None:
        return raw.task == TASK
    named = _named(columns.label, raw) if columns.label else [by_name(list(raw.columns), _NAMES)]
    return all(name is not None and name in raw.columns and _are_amounts(raw.columns[name]) for name in named)


def targets_of(raw: Table, asked: str | None, text: str, need_labels: bool) -> tuple[str | None, str]:
    """(the columns with the numbers, joined by commas, and why). Raises `DataError` where they are none."""
    if asked is not None:
        names = _named(asked, raw)
        if not need_labels and not set(names) <= set(raw.columns):
            return None, "No columns with numbers to answer with."
        for name in names:
            require(name, raw, "--label")
            _check_numbers(raw, name)
        return ",".join(names), f"Answers: {_listed(names)}, as asked."
    others = {name: values for name, values in raw.columns.items() if name != text and _are_numbers(values)}
    if raw.task == TASK and others:
        return ",".join(others), f"Answers: {_listed(list(others))}, as the file has it."
    found = by_name(list(others), _NAMES) or (next(iter(others)) if len(others) == 1 else None)
    if found is not None:
        return (
            found,
            f"Answers: the column {found!r}, by its name or since it alone holds numbers; say otherwise with --label COLUMN.",
        )
    if not need_labels:
        return None, "No column holds numbers to answer with."
    raise DataError(
        f"{raw.name} has no column that is plainly the numbers to learn",
        got=f"columns {', '.join(raw.columns)}",
        fix="Name it with --label COLUMN, or several with --label ONE,OTHER",
    )


def read(
    raw: Documents | Table, found: Guess, need_labels: bool, judged: bool
) -> tuple[RegressionDataset, list[Problem]]:
    """Rows with their numbers; rows without are left out and named, or none are used where answers are not needed."""
    table = (
        raw
        if isinstance(raw, Table)
        else Table({"text": list(raw.documents)}, list(range(1, len(raw.documents) + 1)), raw.name)
    )
    assert found.text is not None or not isinstance(raw, Table)
    inputs, problems = inputs_of(table, found.text or "text")
    names = _named(found.label, table) if found.label else []
    rows: list[tuple[float, ...] | None] | None = None
    if names:
        columns = [[_answer(value) for value in table.columns[name]] for name in names]
        rows = [None if None in row else tuple(v for v in row if v is not None) for row in zip(*columns, strict=True)]
        missing = [i for i, row in enumerate(rows) if row is None and inputs[i] is not None]
        if need_labels:
            lines = [table.lines[i] for i in missing]
            problems += left_out(lines, table.unit, "has no finite number to learn", "have no finite number to learn")
            for i in missing:
                inputs[i] = None
        elif missing:
            many = "1 row has" if len(missing) == 1 else f"{len(missing)} rows have"
            problems.append(Problem(table.lines[missing[0]], f"{many} no number, so none are used", fatal=False))
            rows = None
    kept, values, lines, more = kept_of(inputs, table)
    targets = None if rows is None else [row for i in kept if (row := rows[i]) is not None]
    dataset = RegressionDataset(values, targets, tuple(names), lines, table.name, named_of(kept, table), table.long)
    problems = [*table.problems, *problems, *more]
    too_few = too_few_left(len(kept), len(table.lines) + table.lost)
    if too_few:
        return dataset, too_few + [replace(problem, fatal=True) for problem in problems]
    if need_labels and judged and targets is not None and not any(problem.fatal for problem in problems):
        for place, name in enumerate(names):
            if len(Counter(row[place] for row in targets)) == 1:
                message = (
                    f"all {len(targets)} rows have the same {name!r} ({targets[0][place]:g}): there is nothing to learn"
                )
                problems.append(Problem(lines[0], message, fatal=True))
    return dataset, problems


def _named(asked: str | None, raw: Table) -> list[str]:
    if asked is None:
        return []
    return [asked] if asked in raw.columns else [name.strip() for name in asked.split(",") if name.strip()]


def _listed(names: list[str]) -> str:
    return f"the column {names[0]!r}" if len(names) == 1 else f"the columns {', '.join(map(repr, names))}"


def _answer(value: object) -> float | None:
    """A value that can be learnt, or None: a number that is neither missing nor infinite."""
    found = plain_number(value)
    return None if found is None or not abs(found) <= ENDLESS else found


def _are_numbers(values: list) -> bool:
    first = first_values(values)
    return bool(first) and 2 * sum(_answer(value) is not None for value in first) > len(first)


def _are_amounts(values: list) -> bool:
    """Numbers, some with fractions, of which there are many different ones."""
    numbers = [_answer(value) for value in first_values(values)]
    if not numbers or any(number is None for number in numbers):
        return False
    fractions = any(number is not None and not number.is_integer() for number in numbers)
    return fractions and len(set(numbers)) > min(_MANY, len(numbers) // 2)


def _check_numbers(raw: Table, name: str) -> None:
    if not _are_numbers(raw.columns[name]):
        shown = first_values(raw.columns[name])[:3]
        raise DataError(
            f"{raw.name}: the column {name!r} holds no numbers",
            got=", ".join(map(repr, shown))[:60] or "nothing",
            expected="a number for each row",
            fix=MEND.capitalize()
            if any(map(is_decimal, shown))
            else "Name another with --label, or take --task classify",
        )
