"""What a model does as a stream, as one SVG: the metric by steps of context, and the gradient by steps back.

Both over one axis of steps, in octaves. It draws and does not judge; the sentences come with the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recurra.inspection.curves import GAP, LEFT, RIGHT, TITLE, Scale, ticks
from recurra.inspection.markup import Html, join, tag
from recurra.inspection.measures import items, known, number, part, show

_FOOT, _HEIGHT = 36.0, 130.0
_LEAST = 1e-12  # what is left of a gradient below this is drawn here

Points = list[tuple[float, float]]  # (steps, value)


@dataclass(frozen=True)
class _Panel:
    """One strip of the drawing. `exponents`: its values are powers of ten, and are drawn by their exponents."""

    title: str
    points: Points
    measure: str
    mark: float | None
    exponents: bool = False


def read(record: Mapping[str, Any]) -> tuple[list[str], list[str]] | None:
    """(sentences, warnings) of the record, or None where nothing is said about streams."""
    found = part(record, "streaming")
    sentences = [str(text) for text in items(found, "sentences")]
    return (sentences, [str(text) for text in items(found, "warnings")]) if sentences else None


def draw(record: Mapping[str, Any], width: float) -> Html | None:
    """The drawing, `width` units wide, or None where no curve was kept."""
    panels = [panel for panel in _panels(part(record, "streaming")) if len(panel.points) > 1]
    if not panels:
        return None
    most = max(step for panel in panels for step, _ in panel.points)
    across = Scale(0.0, math.log2(most), LEFT, width - RIGHT)
    drawn, top = [], 0.0
    for panel in panels:
        drawn.append(_panel(panel, across, top))
        top += TITLE + _HEIGHT + GAP
    foot = top - GAP
    drawn.append(_foot(most, across, foot))
    return tag(
        "svg",
        tag("title", "Memory"),
        *drawn,
        viewBox=f"0 0 {width:g} {foot + _FOOT:g}",
        role="img",
        class_="curves",
    )


def _panels(found: Mapping[str, Any]) -> list[_Panel]:
    context, gradient = part(found, "memory", "context"), part(found, "memory", "gradient")
    measure = str(found.get("measure") or "loss")
    title = f"{known(measure).title.capitalize()} by steps of context"
    back = [(lag, max(left, _LEAST)) for lag, left in _points(gradient)]
    return [
        _Panel(title, _points(context), measure, _mark(context)),
        _Panel("Gradient left by steps back", back, "", _mark(gradient), exponents=True),
    ]


def _points(curve: Mapping[str, Any]) -> Points:
    pairs = [pair for pair in items(curve, "curve") if isinstance(pair, Sequence) and len(pair) == 2]
    return [
        (step, value)
        for step, value in ((number(pair[0]), number(pair[1])) for pair in pairs)
        if step is not None and value is not None and step >= 1
    ]


def _mark(curve: Mapping[str, Any]) -> float | None:
    """Where the memory ends, if that was seen."""
    steps = number(curve.get("steps"))
    return None if curve.get("more") or steps is None or steps < 1 else steps


def _panel(panel: _Panel, across: Scale, top: float) -> Html:
    ceiling, floor = top + TITLE, top + TITLE + _HEIGHT
    share = known(panel.measure).share
    heights = [math.log10(value) if panel.exponents else value for _, value in panel.points]
    low, high = min(heights), max(heights)
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    up = Scale(low - margin, high + margin, floor, ceiling)
    parts = [tag("text", panel.title, x=0, y=top + 13, class_="title")]
    for value in _marks(low - margin, high + margin) if panel.exponents else ticks(low - margin, high + margin, 4):
        shown = 10**value if panel.exponents else value
        label = f"{shown * 100:.3g} %" if share else _power(shown) if panel.exponents else f"{shown:.3g}"
        parts.append(tag("line", x1=across.start, x2=across.end, y1=up(value), y2=up(value), class_="grid"))
        parts.append(tag("text", label, x=across.start - 7, y=up(value) + 3.5, text_anchor="end"))
    if panel.mark is not None:
        parts.append(_mark_line(panel, across, ceiling, floor))
    places = [(across(math.log2(step)), up(height)) for (step, _), height in zip(panel.points, heights, strict=True)]
    style = "train" if panel.exponents else "valid"
    parts.append(tag("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in places), class_=f"stroke {style}"))
    for (step, value), (x, y) in zip(panel.points, places, strict=True):
        told = f"{value:.1e}" if panel.exponents else show(panel.measure, value)
        hover = tag("title", f"{step:,.0f} step{'' if step == 1 else 's'}: {told}")
        parts.append(tag("circle", hover, cx=x, cy=y, r=2 if panel.exponents else 3, class_=f"dot {style}"))
    return join(parts)


def _power(value: float) -> str:
    return f"{value:.3g}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")


def _mark_line(panel: _Panel, across: Scale, ceiling: float, floor: float) -> Html:
    assert panel.mark is not None
    x = across(math.log2(panel.mark))
    # a metric has settled behind the mark, a gradient falls there: what is free is before it, below, or behind it, above
    rises, falls = known(panel.measure).higher, panel.exponents
    before = across.end - x < 80 or (falls and x - across.start > 80)
    return join(
        [
            tag("line", x1=x, x2=x, y1=ceiling, y2=floor, class_="best"),
            tag(
                "text", f"{panel.mark:,.0f} step{'' if panel.mark == 1 else 's'}", x=x - 7 if before else x + 7,
                y=floor - 8 if rises or (falls and before) else ceiling + 11,
                text_anchor="end" if before else "start", class_="mark",
            ),
        ]
    )  # fmt: skip


def _marks(low: float, high: float) -> list[float]:
    """Exponents to name beside the axis: whole ones, and between them those of 2 and 5 where there are few."""
    whole = [value for value in ticks(low, high, 4) if value == round(value)]
    if len(whole) > 1:
        return whole
    fine = [exponent + math.log10(m) for exponent in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [value for value in fine if low <= value <= high]


def _foot(most: float, across: Scale, floor: float) -> Html:
    """The shared axis: powers of two, as many as there is room for."""
    octaves = int(math.log2(most))
    stride = max(1, -(-octaves // max(2, int((across.end - across.start) / 60))))
    parts = [tag("line", x1=across.start, x2=across.end, y1=floor, y2=floor, class_="axis")]
    for octave in range(0, octaves + 1, stride):
        x = across(octave)
        near_end = across.end - x < 14
        parts.append(tag("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis"))
        parts.append(
            tag(
                "text", f"{2**octave:,}", x=across.end if near_end else x, y=floor + 18,
                text_anchor="end" if near_end else "middle",
            )
        )  # fmt: skip
    parts.append(tag("text", "steps", x=0, y=floor + 18))
    return join(parts)
