"""Columns of a table by name and content: those that a person named, those that a guess takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from recurra.data.checking import Problem, left_out
from recurra.data.tables import Table
from recurra.errors import DataError

if TYPE_CHECKING:
    from recurra.data.layouts import Layout

SAMPLE = 2_000  # rows looked at


@dataclass(frozen=True)
class Columns:
    """Columns that a person named; None for those that are to be guessed."""

    text: str | None = None
    label: str | None = None
    tags: str | None = None
    target: str | None = None

    @property
    def named(self) -> list[str]:
        return [name for name in (self.text, self.label, self.tags, self.target) if name]


@dataclass(frozen=True)
class Guess:
    """The task (one of `TASKS`), the columns it reads, and readable reasons for each choice.

    `text` names the column of inputs: texts, numeric sequences, lists of tokens, or sources to translate. `label`, `tags`
    and `target` name those of the answers. Each is None where there is no such column. `layout` is how a table holds series.
    """

    task: str
    text: str | None
    label: str | None
    reasons: list[str]
    tags: str | None = None
    target: str | None = None
    layout: Layout | None = None

    @property
    def columns(self) -> Columns:
        return Columns(self.text, self.label, self.tags, self.target)


def require(column: str, raw: Table, option: str) -> None:
    """Raise `DataError` where a table has no column that a person named with `option`."""
    if column in raw.columns:
        return
    near = get_close_matches(column.lower(), [name.lower() for name in raw.columns], n=1)
    meant = next((name for name in raw.columns if near and name.lower() == near[0]), None)
    raise DataError(
        f"{raw.name} has no column {column!r}",
        expected=f"{option} with one of: {', '.join(raw.columns)}",
        fix=f"Did you mean {meant!r}?" if meant else None,
    )


def by_name(columns: list[str], names: Sequence[str]) -> str | None:
    """The column whose name stands first among `names`, without regard to case."""
    lowered = {column.lower().strip(): column for column in columns}
    return next((lowered[name] for name in names if name in lowered), None)


def first_values(values: list) -> list:
    return [value for value in values[:SAMPLE] if not is_missing(value)]


def is_listed(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def has_parts(value: object) -> bool:
    """A list or a record, where a single value belongs."""
    return is_listed(value) or isinstance(value, Mapping)


def label_text(value: object) -> str | None:
    """A label as text: 1 and 1.0 are "1", spaces around it are dropped; None for what is none."""
    if is_missing(value) or has_parts(value):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def without_label(values: Sequence[object], lines: Sequence[int], unit: str) -> list[Problem]:
    """Warnings that rows were left out because of their labels, which `label_text` reads as None."""
    odd = [line for value, line in zip(values, lines, strict=True) if has_parts(value)]
    missing = [line for value, line in zip(values, lines, strict=True) if not has_parts(value)]
    return [
        *left_out(missing, unit, "has no label", "have no label"),
        *left_out(odd, unit, "has a label that is no single value", "have labels that are no single values"),
    ]


def is_missing(value: object) -> bool:
    """None, NaN, and what pandas writes for a missing value."""
    return (
        value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    )
