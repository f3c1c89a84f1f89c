"""Learning curves as one SVG: loss, validation measures and learning rate over a shared axis of steps.

Colours are classes of the style sheet, so that one drawing serves light, dark and paper. It does not judge.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from recurra.inspection.markup import Html, join, tag, text_width
from recurra.inspection.measures import known, number, part, show
from recurra.progress import duration

LEFT, RIGHT, GAP, TITLE = 52.0, 14.0, 22.0, 22.0
_FOOT = 44.0
_MOST_DOTS = 80  # with more validations than this the line stands alone
_MOST_POINTS = 500  # a line's points beyond this are averaged in groups

Points = list[tuple[float, float | None]]  # (step, value), None where it was no finite number


@dataclass
class _Line:
    """One line of a panel: its points, its name and the class that colours it."""

    title: str
    style: str
    points: Points
    measure: str
    dots: bool = False


@dataclass
class _Panel:
    """One strip of the drawing with its own vertical axis."""

    title: str
    height: float
    lines: list[_Line] = field(default_factory=list)
    share: bool = False


def learning_curves(history: Sequence[Any], best: tuple[int, str] | None, width: float) -> Html:
    """The drawing, `width` units wide; `best` is (index into the history, measure) and is marked."""
    rows = [
        (step, row) for row in history if isinstance(row, Mapping) and (step := number(row.get("step"))) is not None
    ]
    panels = _panels([row for _, row in rows], [step for step, _ in rows])
    if not panels:
        return tag("p", "No history was kept.", class_="quiet")
    best_step = None
    if best is not None and isinstance(history[best[0]], Mapping):
        best_step = number(history[best[0]].get("step"))
    steps = [step for step, _ in rows]
    low, high = min(steps), max(steps)
    if low == high:
        low, high = low - 1, high + 1
    across = Scale(low, high, LEFT, width - RIGHT)
    drawn, top = [], 0.0
    for panel in panels:
        drawn.append(_panel(panel, across, top, best_step, best[1] if best else ""))
        top += TITLE + panel.height + GAP
    foot = top - GAP
    drawn.append(_foot(rows, across, foot))
    return tag(
        "svg",
        tag("title", "Learning curves"),
        *drawn,
        viewBox=f"0 0 {width:g} {foot + _FOOT:g}",
        role="img",
        class_="curves",
    )


def _panels(rows: Sequence[Mapping[str, Any]], steps: Sequence[float]) -> list[_Panel]:
    def points(values: Sequence[Any]) -> Points:
        return [(step, number(value)) for step, value in zip(steps, values, strict=True)]

    def seen(name: str) -> Points:
        return [(s, v) for s, v in points([part(row, "valid").get(name) for row in rows]) if v is not None]

    loss = _Panel("Loss in nats" if not seen("mae") else "Loss", 190)
    train = points([row.get("loss") for row in rows])
    if any(value is not None for _, value in train):
        loss.lines.append(_Line("training", "train", train, "loss"))
    if seen("loss"):
        loss.lines.append(_Line("validation", "valid", seen("loss"), "loss", dots=True))
    score = _Panel("Validation", 140, share=True)
    # the two most telling shares that were measured
    shares = [name for name in ("f1", "accuracy", "macro_f1") if seen(name)][:2]
    for name, style in zip(shares, ("valid", "second"), strict=False):
        score.lines.append(_Line(known(name).title, style, seen(name), name, dots=True))
    rate = _Panel("Learning rate", 56)
    rates = points([row.get("rate") for row in rows])
    if any(value is not None for _, value in rates):
        rate.lines.append(_Line("", "rate", rates, "rate"))
    return [panel for panel in (loss, score, rate) if panel.lines]


def _thin(points: Points) -> Points:
    """At most `_MOST_POINTS` points, each the mean of its group; a group with a broken value stays broken."""
    size = math.ceil(len(points) / _MOST_POINTS)
    if size <= 1:
        return points
    thinned: Points = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        values = [value for _, value in group if value is not None]
        step = sum(step for step, _ in group) / len(group)
        thinned.append((step, sum(values) / len(values) if len(values) == len(group) else None))
    return thinned


@dataclass(frozen=True)
class Scale:
    """A straight line from values to units of the drawing; values outside are held at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between two values."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(m for m in (1, 2, 2.5, 5, 10) if m * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _limits(panel: _Panel) -> tuple[float, float]:
    values = sorted(value for line in panel.lines for _, value in line.points if value is not None)
    low, high = values[0], values[-1]
    if panel.lines[0].measure == "rate":
        return 0.0, high or 1.0
    # A few enormous values at the start or after an accident must not flatten all the rest.
    usual = values[int(0.95 * (len(values) - 1))]
    if high - low > 3 * (usual - low) > 0:
        high = usual + 0.5 * (usual - low)
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    return (max(low, 0.0), min(high, 1.0)) if panel.share else (low, high)


def _panel(panel: _Panel, across: Scale, top: float, best: float | None, judged: str) -> Html:
    ceiling, floor = top + TITLE, top + TITLE + panel.height
    low, high = _limits(panel)
    up = Scale(low, high, floor, ceiling)
    parts = [_panel_title(panel, top + 13)]
    for value in ticks(low, high, 5 if panel.height > 100 else 2):
        y = up(value)
        label = f"{value * 100:.3g} %" if panel.share else f"{value:.3g}"
        parts.append(tag("line", x1=across.start, x2=across.end, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", label, x=across.start - 7, y=y + 3.5, text_anchor="end"))
    if best is not None:
        x = across(best)
        parts.append(tag("line", x1=x, x2=x, y1=ceiling, y2=floor, class_="best"))
    for line in panel.lines:
        parts.append(_line(line, across, up))
    for line in panel.lines:
        marked = [(s, v) for s, v in line.points if s == best and v is not None]
        if line.dots and line.measure == judged and marked:
            parts.append(_mark(marked[0], line.measure, across, up, (ceiling, floor)))
    return join(parts)


def _panel_title(panel: _Panel, y: float) -> Html:
    parts, x = [tag("text", panel.title, x=0, y=y, class_="title")], text_width(panel.title, 12) + 18
    for line in panel.lines:
        if line.title:
            parts.append(tag("line", x1=x, x2=x + 16, y1=y - 4, y2=y - 4, class_=f"stroke {line.style}"))
            if line.dots:
                parts.append(tag("circle", cx=x + 8, cy=y - 4, r=3, class_=f"dot {line.style}"))
            parts.append(tag("text", line.title, x=x + 21, y=y))
            x += 21 + text_width(line.title, 11) + 16
    return join(parts)


def _line(line: _Line, across: Scale, up: Scale) -> Html:
    parts: list[Html] = []
    run: list[str] = []
    lone: list[tuple[float, float]] = []
    dots = line.dots and len(line.points) <= _MOST_DOTS
    for step, value in [*_thin(line.points), (0.0, None)]:
        if value is not None:
            run.append(f"{across(step):g},{up(value):g}")
            lone.append((step, value))
            continue
        # A break in the numbers is a break in the line; a point alone between two breaks is a dot.
        if len(run) > 1:
            parts.append(tag("polyline", points=" ".join(run), class_=f"stroke {line.style}"))
        elif run and not dots:
            parts.append(_dot(line, *lone[-1], across, up))
        run = []
    if dots:
        parts += [_dot(line, step, value, across, up) for step, value in lone]
    return join(parts)


def _dot(line: _Line, step: float, value: float, across: Scale, up: Scale) -> Html:
    hover = tag("title", f"step {step:,.0f}: {line.title} {show(line.measure, value)}")
    return tag("circle", hover, cx=across(step), cy=up(value), r=3, class_=f"dot {line.style}")


def _mark(point: tuple[float, float], measure: str, across: Scale, up: Scale, edges: tuple[float, float]) -> Html:
    step, value = point
    x, ceiling, floor = across(step), *edges
    name = "" if measure == "loss" else f"{known(measure).title} "
    label = f"best {name}{show(measure, value)} at step {step:,.0f}"
    right = x + 10 + text_width(label, 11.5) > across.end
    return join(
        [
            tag("circle", cx=x, cy=up(value), r=6.5, class_="ring"),
            tag(
                "text",
                label,
                x=x - 7 if right else x + 7,
                # Falling curves leave the top free, rising ones the bottom.
                y=floor - 8 if known(measure).higher else ceiling + 11,
                text_anchor="end" if right else "start",
                class_="mark",
            ),
        ]
    )


def _foot(rows: Sequence[tuple[float, Mapping[str, Any]]], across: Scale, floor: float) -> Html:
    """The shared axis: steps, and below them the time from the start."""
    clock = [(step, seconds) for step, row in rows if (seconds := number(row.get("seconds"))) is not None]
    fits = max(2, int((across.end - across.start) / 90))
    parts = [tag("line", x1=across.start, x2=across.end, y1=floor, y2=floor, class_="axis")]
    chosen = [rows[0][0]] if len(rows) == 1 else ticks(across.low, across.high, fits)
    for step in chosen:
        x = across(step)
        near_end = across.end - x < 14
        anchor = {"x": across.end if near_end else x, "text_anchor": "end" if near_end else "middle"}
        parts.append(tag("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis"))
        parts.append(tag("text", f"{step:,.0f}", y=floor + 18, **anchor))
        if clock:
            parts.append(tag("text", duration(_time_at(clock, step)), y=floor + 34, class_="faint", **anchor))
    parts.append(tag("text", "step", x=0, y=floor + 18))
    if clock:
        parts.append(tag("text", "time", x=0, y=floor + 34, class_="faint"))
    return join(parts)


def _time_at(clock: Sequence[tuple[float, float]], step: float) -> float:
    """Seconds at a step, on the straight line between its neighbours."""
    if step <= clock[0][0]:
        # Work before the first record went on at about the same pace.
        return clock[0][1] * step / clock[0][0] if clock[0][0] else clock[0][1]
    place = bisect_left([at for at, _ in clock], step)
    for (before, early), (after, late) in pairwise(clock[max(place - 1, 0) : place + 1]):
        if after > before:
            return early + (late - early) * (step - before) / (after - before)
    return clock[-1][1]
