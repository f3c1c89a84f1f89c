"""Forecasts as pictures: each with what was before and what came, and how far off they are at each step ahead.

It draws what the record holds, as SVG, and knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recurra.inspection.curves import Scale, ticks
from recurra.inspection.markup import Html, join, shorten, tag
from recurra.inspection.measures import items, number, part

_WIDTH, _HEIGHT = 780.0, 150.0
_LEFT, _RIGHT, _TOP, _FOOT = 56.0, 12.0, 22.0, 18.0


def pictures(record: Mapping[str, Any]) -> Html | None:
    """All forecasts that the record holds whole; None where there are none."""
    found = [drawn for entry in items(part(record, "forecasts"), "drawn") if (drawn := _forecast(entry)) is not None]
    return join(found) if found else None


def per_step(record: Mapping[str, Any]) -> Html | None:
    """The error, and what share the intervals held, at each step ahead; None where neither is known."""
    known = part(record, "forecasts", "per_step")
    errors = _numbers(items(known, "mae"))
    shares = {level: _numbers(items(known, f"coverage{level}")) for level in (80, 95)}
    parts: list[Html] = []
    if errors:
        parts.append(_steps("Absolute error, in deviations, by steps ahead", [("valid", errors)], 0.0, max(errors)))
    lines = [(style, shares[level]) for style, level in (("valid", 80), ("second", 95)) if shares[level]]
    if lines:
        parts.append(
            _steps("Values within the 80 % (solid) and the 95 % intervals (dashed)", lines, 0.0, 1.0, share=True)
        )
    return join(parts) if parts else None


def _numbers(values: Sequence[object]) -> list[float]:
    found = [number(value) for value in values]
    return [value for value in found if value is not None] if None not in found else []


def _forecast(entry: object) -> Html | None:
    """One series: history, what came, the forecast and its 80 % and 95 % intervals."""
    if not isinstance(entry, Mapping):
        return None
    names = ("before", "came", "mean", "lo-80", "hi-80", "lo-95", "hi-95")
    lines = {name: _numbers(items(entry, name)) for name in names}
    size = len(lines["mean"])
    if not size or not lines["before"] or any(len(lines[name]) != size for name in names[1:]):
        return None
    # an interval of a few enormous values must not flatten the series
    values = [value for name in ("before", "came", "mean", "lo-80", "hi-80") for value in lines[name]]
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or 1.0
    first = len(lines["before"])
    across = Scale(0, first + size - 1, _LEFT, _WIDTH - _RIGHT)
    down = Scale(low - room, high + room, _HEIGHT - _FOOT, _TOP)
    ahead = range(first, first + size)
    joined = [lines["before"][-1], *lines["mean"]]
    parts = [
        tag("text", shorten(entry.get("name", ""), 60), x=_LEFT, y=13, class_="title"),
        *_grid(down, low, high),
        *_moments(across, first, size),
        _band(across, down, ahead, lines["lo-95"], lines["hi-95"], 0.14),
        _band(across, down, ahead, lines["lo-80"], lines["hi-80"], 0.24),
        _line(across, down, range(first), lines["before"], "rate"),
        _line(across, down, ahead, lines["came"], "train"),
        _line(across, down, range(first - 1, first + size), joined, "valid"),
    ]
    return _svg("A forecast with what was before and what came", parts)


def _moments(across: Scale, first: int, size: int) -> list[Html]:
    """A line where the forecast begins, and steps before and after it below the picture."""
    x = across(first - 1)
    parts = [tag("line", x1=x, x2=x, y1=_TOP, y2=_HEIGHT - _FOOT, class_="best")]
    for step in ticks(1 - first, size, 8):
        if step == round(step):
            shown = f"{step:+g}" if step else "now"
            place = across(first - 1 + step)
            parts.append(tag("text", shown, x=place, y=_HEIGHT - 3, text_anchor="middle", class_="faint"))
    return parts


def _steps(title: str, lines: list[tuple[str, list[float]]], low: float, high: float, share: bool = False) -> Html:
    size = max(len(values) for _, values in lines)
    across = Scale(1, max(2, size), _LEFT, _WIDTH - _RIGHT)
    down = Scale(low, high * (1.0 if share else 1.05) or 1.0, _HEIGHT - _FOOT, _TOP)
    parts = [tag("text", title, x=_LEFT, y=13, class_="title"), *_grid(down, low, high, share)]
    for level in (0.8, 0.95) if share else ():
        y = down(level)
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="best"))
    parts += [_line(across, down, range(1, len(values) + 1), values, style) for style, values in lines]
    for step in ticks(1, size, 8):
        parts.append(tag("text", f"{step:g}", x=across(step), y=_HEIGHT - 3, text_anchor="middle", class_="faint"))
    return _svg(title, parts)


def _svg(title: str, parts: Sequence[Html]) -> Html:
    return tag("svg", tag("title", title), *parts, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", role="img", class_="curves")


def _grid(down: Scale, low: float, high: float, share: bool = False) -> list[Html]:
    parts: list[Html] = []
    for value in ticks(low, high, 4):
        y = down(value)
        shown = f"{value:.0%}" if share else f"{value:,.6g}"
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", shown, x=_LEFT - 6, y=y + 4, text_anchor="end", class_="faint"))
    return parts


def _line(across: Scale, down: Scale, at: Sequence[int], values: Sequence[float], style: str) -> Html:
    points = " ".join(f"{across(x)},{down(y)}" for x, y in zip(at, values, strict=True))
    return tag("polyline", points=points, class_=f"stroke {style}")


def _band(
    across: Scale, down: Scale, at: Sequence[int], low: Sequence[float], high: Sequence[float], opacity: float
) -> Html:
    there = [f"{across(x)},{down(y)}" for x, y in zip(at, high, strict=True)]
    back = [f"{across(x)},{down(y)}" for x, y in zip(reversed(at), reversed(low), strict=True)]
    return tag("polygon", points=" ".join([*there, *back]), class_="dot valid", opacity=opacity)
