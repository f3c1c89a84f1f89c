"""Numbers written with a decimal comma: 3,5 and 1.234,5. Knows texts alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(?:\.\d{3})+)(?:,(\d+))?(?:[eE][+-]?\d+)?")
"""A number with a decimal comma or without a fraction; full stops, if any, part thousands."""

MEND = (
    "write decimal points, or part the columns of the file by semicolons or tabs, where all numbers of a column may have "
    "decimal commas"
)


def is_decimal(value: object) -> bool:
    """Whether a value has what may be a decimal comma."""
    return isinstance(value, str) and "," in value and _NUMBER.fullmatch(value.strip()) is not None


def with_points(values: Sequence[str]) -> list[str] | None:
    """A column whose numbers have decimal commas, with full stops instead; None for any other column.

    All that is not empty must be such a number, and one of them must be so plainly: 1,500 alone could be parted thousands.
    """
    found, plain = [], False
    for value in values:
        text = value.strip()
        number = _NUMBER.fullmatch(text)
        if text and number is None:
            return None
        whole, fraction = ("", None) if number is None else (number[1], number[2])
        plain |= fraction is not None and (len(fraction) != 3 or "." in whole or len(whole) > 3 or whole == "0")
        found.append(text.replace(".", "").replace(",", "."))
    return found if plain else None
