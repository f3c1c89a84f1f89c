"""Series and pictures of each class, side by side, with what the model says of them.

It draws what the record holds, as SVG, and knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from recurra.inspection.curves import Scale
from recurra.inspection.markup import Html, join, shorten, tag
from recurra.inspection.measures import items, number, part, plural

_WIDTH, _HEIGHT, _ROOM = 218.0, 84.0, 4.0
_STYLES = ("valid", "train", "second", "rate")


def draw(record: Mapping[str, Any]) -> tuple[str, Html] | None:
    """(a caption, a row of drawings for each class); None where the record holds no whole ones."""
    found = part(record, "examples")
    classes = [entry for entry in items(found, "classes") if isinstance(entry, Mapping)]
    low, high = _limits(classes)
    rows = []
    style = "examples pictures" if found.get("pictures") else "examples"
    for entry in classes:
        drawn = [one for row in items(entry, "rows") if (one := _example(entry, row, low, high)) is not None]
        if drawn:
            name = tag("h3", shorten(entry.get("label", ""), 60))
            rows.append(tag("div", name, tag("div", *drawn, class_=style)))
    if not rows:
        return None
    return _caption(found, len(rows)), join(rows)


def _caption(found: Mapping[str, Any], shown: int) -> str:
    of, features = number(found.get("of")) or shown, number(found.get("features")) or 1
    said = ["Rows of the validation data by their true label; one that is mistaken stands last, in orange."]
    if of > shown:
        said.append(f"Of {of:.0f} labels the {shown} most frequent are drawn.")
    if not found.get("pictures"):
        names = [shorten(name, 24) for name in items(found, "channels")]
        drawn = min(int(features), len(_STYLES))
        if names:
            said.append(f"Lines: {', '.join(names)}.")
        if features > drawn:
            said.append(f"Of {plural(features, 'feature')} the first {drawn} are drawn.")
        said.append("All have one scale: each feature by its mean and spread in the training data.")
    return " ".join(said)


def _lines(row: object) -> list[list[float | None]]:
    """The numbers of each line; None where one is missing, or is none."""
    lines = items(row, "lines") if isinstance(row, Mapping) else []
    return [[_number(value) for value in line.split()] for line in lines if isinstance(line, str)]


def _number(text: str) -> float | None:
    try:
        return number(float(text))
    except ValueError:
        return None


def _limits(classes: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The least and the greatest value of all lines, without the few that lie far out."""
    values = sorted(
        value for entry in classes for row in items(entry, "rows") for line in _lines(row) for value in line
        if value is not None
    )  # fmt: skip
    if not values:
        return -1.0, 1.0
    cut = len(values) // 200
    low, high = values[cut], values[-1 - cut]
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _example(entry: Mapping[str, Any], row: object, low: float, high: float) -> Html | None:
    if not isinstance(row, Mapping):
        return None
    picture = items(row, "picture")
    drawn = _picture(picture) if picture else _series(row, low, high)
    if drawn is None:
        return None
    label, told = str(entry.get("label", "")), str(row.get("told", ""))
    name = shorten(row.get("name", ""), 24)
    said = name if told == label else f"{name}: taken for {shorten(told, 24)}"
    return tag("figure", drawn, tag("figcaption", said), class_=None if told == label else "mistaken")


def _series(row: Mapping[str, Any], low: float, high: float) -> Html | None:
    lines = _lines(row)
    if not lines or not lines[0] or len({len(line) for line in lines}) != 1:
        return None
    across = Scale(0, max(1, len(lines[0]) - 1), _ROOM, _WIDTH - _ROOM)
    down = Scale(low, high, _HEIGHT - _ROOM, _ROOM)
    parts = []
    for line, style in zip(lines, _STYLES, strict=False):
        for run in _runs(line):
            points = [f"{across(x):.1f},{min(max(down(y), 0.0), _HEIGHT):.1f}" for x, y in run]
            if len(points) == 1:
                x, y = points[0].split(",")
                parts.append(tag("circle", cx=x, cy=y, r=2, class_=f"dot {style}"))
            else:
                parts.append(tag("polyline", points=" ".join(points), class_=f"stroke {style}"))
    steps = number(row.get("steps")) or len(lines[0])
    return _svg(f"A series of {plural(steps, 'step')}", parts, _WIDTH, _HEIGHT)


def _runs(line: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The points of a line, parted where values are missing."""
    runs: list[list[tuple[int, float]]] = [[]]
    for x, y in enumerate(line):
        if y is not None:
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _picture(rows: Sequence[object]) -> Html | None:
    """A picture of digits as rectangles, a path for each shade: as many strips of a row as its shades change."""
    grid = [row for row in rows if isinstance(row, str) and row.isascii() and row.isdigit()]
    if not grid or len(grid) != len(rows) or len({len(row) for row in grid}) != 1:
        return None
    paths: dict[str, list[str]] = {}
    for y, row in enumerate(grid):
        start = 0
        for shade, strip in groupby(row):
            size = len(list(strip))
            if shade != "0":
                paths.setdefault(shade, []).append(f"M{start} {y}h{size}v1H{start}z")
            start += size
    parts = [
        tag("path", d="".join(strips), class_="ink", opacity=round(int(shade) / 9, 2))
        for shade, strips in sorted(paths.items())
    ]
    return _svg("A picture", parts, float(len(grid[0])), float(len(grid)), small=True)


def _svg(title: str, parts: Sequence[Html], width: float, height: float, small: bool = False) -> Html:
    return tag(
        "svg", tag("title", title), *parts, viewBox=f"0 0 {width:g} {height:g}", role="img",
        shape_rendering="crispEdges" if small else None,
    )  # fmt: skip
