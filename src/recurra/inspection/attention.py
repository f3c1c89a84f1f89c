"""Translations as pictures: which place of the source each word looked at, and examples in a table.

Each line of a picture is a token that was said, each column one of the source, the darker the more of its attention it had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recurra.inspection.markup import Html, clean, shorten, tag, text_width
from recurra.inspection.measures import items, number

_LEVELS = 8
_CELL, _SIZE = 22, 11.0
_SIGNS = {"\t": "⇥", "\n": "⏎", "": "∅", " ": "␣"}


@dataclass(frozen=True)
class Looked:
    """The tokens of a source and of what was said for it, and weights[said][source], each from 0 to 1."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]


def read(record: Mapping[str, Any]) -> list[Looked]:
    """The pictures that the record holds whole."""
    found = []
    for entry in items(record, "attention"):
        if not isinstance(entry, Mapping):
            continue
        source, target = ([_shown(token) for token in items(entry, side)] for side in ("source", "target"))
        rows = [row for row in items(entry, "weights") if isinstance(row, list)]
        weights = [[number(weight) or 0.0 for weight in row] for row in rows]
        if source and len(weights) == len(target) > 0 and all(len(row) == len(source) for row in weights):
            found.append(Looked(source, target, weights))
    return found


def _shown(token: object) -> str:
    text = clean(token)
    return _SIGNS.get(text, text.strip() or text)


def draw(looked: Looked) -> Html:
    """One picture as SVG, at its natural size: a wide one is scrolled, not shrunk."""
    across, down = ([shorten(name, 14) for name in names] for names in (looked.source, looked.target))
    left = max(text_width(name, _SIZE) for name in down) + 14
    longest = max(text_width(name, _SIZE) for name in across)
    top = longest * 0.72 + 20
    parts: list[Html] = []
    for column, name in enumerate(across):
        x, y = left + (column + 0.5) * _CELL + 3, top - 7
        place = {"x": f"{x:g}", "y": f"{y:g}", "transform": f"rotate(-45 {x:g} {y:g})"}
        parts.append(tag("text", name, font_size=_SIZE, **place))
    width, height = _CELL * len(across), _CELL * len(down)
    parts.append(tag("rect", x=f"{left:g}", y=f"{top:g}", width=width, height=height, class_="heat-back"))
    for line, (name, row) in enumerate(zip(down, looked.weights, strict=True)):
        y = top + line * _CELL
        label = {"x": f"{left - 7:g}", "y": f"{y + _CELL / 2 + _SIZE * 0.35:g}"}
        parts.append(tag("text", name, text_anchor="end", font_size=_SIZE, **label))
        for column, weight in enumerate(row):
            if weight >= 0.01:
                parts.append(_cell(f"{name} ← {across[column]}", weight, left + column * _CELL, y))
    return tag(
        "svg",
        tag("title", f"What each of {len(down)} tokens looked at"),
        *parts,
        viewBox=f"0 0 {left + width + longest * 0.72 + 4:.0f} {top + height + 4:.0f}",
        width=f"{left + width + longest * 0.72 + 4:.0f}",
        height=f"{top + height + 4:.0f}",
        role="img",
        class_="heat",
    )


def _cell(names: str, weight: float, x: float, y: float) -> Html:
    # the root makes small shares visible, as in the picture of confusions
    level = min(max(math.ceil(math.sqrt(weight) * _LEVELS - 1e-9), 1), _LEVELS)
    hover = tag("title", f"{names}: {weight * 100:.0f} %")
    size = f"{_CELL - 1:g}"
    return tag("rect", hover, x=f"{x:g}", y=f"{y:g}", width=size, height=size, class_=f"right l{level}")


def examples(record: Mapping[str, Any]) -> Html | None:
    """Sources, what a person wrote for them, and what the model said, as a table; None where there are none."""
    rows = [row for row in items(record, "examples") if isinstance(row, Mapping)]
    if not rows:
        return None
    heads: Sequence[tuple[str, str]] = (("source", "source"), ("target", "wanted"), ("answer", "said"))
    body = [tag("tr", *(tag("td", shorten(row.get(key, ""), 400)) for key, _ in heads)) for row in rows]
    head = tag("tr", *(tag("th", name, scope="col") for _, name in heads))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), class_="texts"), class_="scroll")
