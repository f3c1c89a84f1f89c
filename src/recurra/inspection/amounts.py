"""What a regressor tells beside what is true: a dot a row, on the line where both are the same.

It draws what the record holds, as SVG, and knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recurra.inspection.curves import Scale, ticks
from recurra.inspection.markup import Html, join, shorten, tag
from recurra.inspection.measures import items, number

_SIZE, _LEFT, _TOP, _FOOT = 340.0, 58.0, 24.0, 34.0


def draw(record: Mapping[str, Any]) -> Html | None:
    """A drawing for each number; None where the record holds none."""
    found = [drawn for entry in items(record, "amounts") if (drawn := _drawing(entry)) is not None]
    return tag("div", join(found), class_="amounts") if found else None


def _drawing(entry: object) -> Html | None:
    if not isinstance(entry, Mapping):
        return None
    true, told = ([number(value) for value in items(entry, name)] for name in ("true", "told"))
    pairs = [(x, y) for x, y in zip(true, told, strict=False) if x is not None and y is not None]
    if not pairs or len(true) != len(told):
        return None
    values = [value for pair in pairs for value in pair]
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    across = Scale(low, high, _LEFT, _SIZE - 10)
    down = Scale(low, high, _SIZE - _FOOT, _TOP)
    parts = [tag("text", shorten(entry.get("name", ""), 40), x=_LEFT, y=14, class_="title")]
    for value in ticks(low, high, 5):
        x, y = across(value), down(value)
        parts += [
            tag("line", x1=_LEFT, x2=_SIZE - 10, y1=y, y2=y, class_="grid"),
            tag("text", f"{value:,.4g}", x=_LEFT - 6, y=y + 4, text_anchor="end", class_="faint"),
            tag("text", f"{value:,.4g}", x=x, y=_SIZE - _FOOT + 14, text_anchor="middle", class_="faint"),
        ]
    parts.append(tag("line", x1=across(low), y1=down(low), x2=across(high), y2=down(high), class_="best"))
    parts += [tag("circle", cx=across(x), cy=down(y), r=2.6, class_="dot valid", opacity=0.6) for x, y in pairs]
    parts.append(tag("text", "true →", x=_SIZE - 10, y=_SIZE - 4, text_anchor="end"))
    parts.append(tag("text", "told ↑", x=4, y=14))
    title = tag("title", f"{len(pairs)} rows: told beside true")
    return tag("svg", title, *parts, viewBox=f"0 0 {_SIZE:g} {_SIZE:g}", role="img")
