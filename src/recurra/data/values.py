"""Single values of a table: what is missing, what has parts, what is a number, and labels as text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_WORDS = ("", "na", "n/a", "nan", "null", "none", "?", "-")
"""What is written for nothing."""


def is_missing(value: object) -> bool:
    """None, NaN, and what pandas writes for a missing value."""
    return (
        value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    )


def is_void(value: object) -> bool:
    """Nothing, or a word for it, where a number or a moment belongs; NaN is a number."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, str) and value.strip().lower() in _WORDS


def is_listed(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def has_parts(value: object) -> bool:
    """A list or a record, where a single value belongs."""
    return is_listed(value) or isinstance(value, Mapping)


def number_of(value: object) -> float | None:
    """A value as a float (NaN where it is one), None where it is no number; yes and no are 1 and 0."""
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value)  # pyright: ignore[reportArgumentType] (whatever is no number raises)
    except (TypeError, ValueError, OverflowError):
        return None


def plain_number(value: object) -> float | None:
    """As `number_of`; yes, no, and what has parts are no numbers."""
    return None if isinstance(value, bool) or has_parts(value) else number_of(value)


def label_text(value: object) -> str | None:
    """A label as text: 1 and 1.0 are "1", spaces around it are dropped; None for what is none."""
    if is_missing(value) or has_parts(value):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None
