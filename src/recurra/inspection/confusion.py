"""The confusion matrix as a picture and in words, for two labels or for dozens.

Right answers are blue and mistakes orange, each the darker the larger its share of the true label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recurra.inspection.markup import Html, join, shorten, tag, text_width
from recurra.inspection.measures import items, plural, whole

_MOST_LABELS = 50  # beyond this the rarest are drawn as one
_LEVELS = 8
_PAGE = 784  # the width of the page's column


def read(record: Mapping[str, Any]) -> tuple[list[str], list[list[int]]] | None:
    """Labels and matrix (rows: truth, columns: prediction), or `None` where the record holds no whole one."""
    found = record.get("confusion")
    if not isinstance(found, Mapping):
        return None
    labels = [str(label) for label in items(found, "labels")]
    matrix = [[int(count) for count in row] for row in items(found, "matrix")]
    if not labels or len(matrix) != len(labels) or any(len(row) != len(labels) for row in matrix):
        return None
    return labels, matrix


def draw(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    """The heat map as SVG, at its natural size: a wide one is scrolled, not shrunk."""
    labels, matrix = _pooled(labels, matrix)
    count = len(labels)
    size = 12.0 if count <= 12 else 11.0 if count <= 24 else 9.0
    names = [shorten(label, 18) for label in labels]
    longest = max(text_width(name, size) for name in names)
    room = _PAGE - longest * 1.72 - 40
    cell = float(max(min(int(room / count), 88 if count <= 2 else 64 if count <= 4 else 40), 13))
    upright = longest > cell - 6
    left = longest + 30
    top = (longest * 0.72 if upright else size) + 34
    side = cell * count
    parts = [
        tag("text", "predicted →", x=left, y=12, class_="title"),
        tag("text", "true", x=10, y=top + side / 2, text_anchor="middle", class_="title",
            transform=f"rotate(-90 10 {top + side / 2:g})"),
    ]  # fmt: skip
    for index, name in enumerate(names):
        middle = (index + 0.5) * cell
        hover = tag("title", shorten(labels[index], 200))
        parts.append(
            tag(
                "text",
                name,
                hover,
                x=left - 8,
                y=top + middle + size * 0.35,
                text_anchor="end",
                font_size=size,
            )
        )
        x, y = left + middle + (size * 0.3 if upright else 0), top - 8
        turn = {"transform": f"rotate(-45 {x:g} {y:g})"} if upright else {}
        anchor = "start" if upright else "middle"
        parts.append(tag("text", name, hover, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, font_size=size, **turn))
    parts.append(tag("rect", x=left, y=top, width=side, height=side, class_="heat-back"))
    for i, row in enumerate(matrix):
        total = sum(row)
        for j, found in enumerate(row):
            if found:
                parts.append(_cell(names, i, j, found, total, left + j * cell, top + i * cell, cell))
    # Names set aslant reach past the last column.
    width, height = left + side + (longest * 0.72 if upright else 4), top + side + 4
    return tag(
        "svg",
        tag("title", f"Confusion matrix of {count} labels"),
        *parts,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        class_="heat",
    )


def _cell(names: Sequence[str], i: int, j: int, found: int, total: int, x: float, y: float, cell: float) -> Html:
    share = found / total
    # The root makes small shares visible: 2 %, 6 %, 14 %, 25 %, 39 %, 56 %, 77 %, 100 %.
    level = min(max(math.ceil(math.sqrt(share) * _LEVELS - 1e-9), 1), _LEVELS)
    style = f"{'right' if i == j else 'wrong'} l{level}"
    hover = tag("title", f"{names[i]} → {names[j]}: {found:,} ({share * 100:.0f} %)")
    square = tag("rect", hover, x=f"{x:g}", y=f"{y:g}", width=f"{cell - 1:g}", height=f"{cell - 1:g}", class_=style)
    middle = {"x": f"{x + cell / 2:g}", "text_anchor": "middle"}
    if cell >= 60:
        y_text, percent = y + cell / 2, f"{share * 100:.0f} %"
        lines = [
            tag("text", f"{found:,}", y=f"{y_text:g}", font_size=15, class_=f"on l{level} strong", **middle),
            tag("text", percent, y=f"{y_text + 17:g}", font_size=11, class_=f"on l{level}", **middle),
        ]
        return join([square, *lines])
    size = 11 if cell >= 40 else 9
    if cell >= 26 and text_width(f"{found:,}", size) < cell - 3:
        y_text = f"{y + cell / 2 + size * 0.35:g}"
        return join([square, tag("text", f"{found:,}", y=y_text, font_size=size, class_=f"on l{level}", **middle)])
    return square


def legend() -> Html:
    """What the colours mean."""
    scale = [round((level / _LEVELS) ** 2 * 100) for level in range(1, _LEVELS + 1)]
    rows = [
        tag("div", tag("span", word, class_="word"),
            *(tag("span", class_=f"swatch {style} l{level}") for level in range(1, _LEVELS + 1)))
        for style, word in (("right", "right"), ("wrong", "mistaken"))
    ]  # fmt: skip
    numbers = tag("div", tag("span", class_="word"), *(tag("span", share, class_="step") for share in scale))
    said = "share of the true label, up to … %"
    return tag("div", *rows, numbers, tag("div", tag("span", class_="word"), said), class_="legend")


def worst(labels: Sequence[str], matrix: Sequence[Sequence[int]], most: int = 6) -> Html:
    """The most frequent mistakes as a list of sentences."""
    mistakes = sorted(
        ((row[j], i, j) for i, row in enumerate(matrix) for j in range(len(row)) if i != j and row[j]),
        key=lambda mistake: (-mistake[0], mistake[1], mistake[2]),
    )
    if not mistakes:
        return tag("p", "No mistakes.", class_="quiet")
    entries = []
    for count, i, j in mistakes[:most]:
        share = count / sum(matrix[i]) * 100
        entries.append(
            tag("li", tag("b", shorten(labels[i], 60)), " taken for ", tag("b", shorten(labels[j], 60)),
                f": {plural(count, 'row')}, {share:.0f} % of the former")
        )  # fmt: skip
    return tag("ul", *entries)


def per_label(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    """Rows, precision, recall and F1 of each label, as a table."""
    body = []
    for i, label in enumerate(labels):
        true, told, right = sum(matrix[i]), sum(row[i] for row in matrix), matrix[i][i]
        shares = (right / told if told else None, right / true if true else None,
                  2 * right / (true + told) if true + told else None)  # fmt: skip
        shown = ("–" if share is None else f"{share * 100:.1f} %" for share in shares)
        body.append(
            tag(
                "tr",
                tag("th", shorten(label, 60), scope="row"),
                tag("td", whole(true)),
                *(tag("td", s) for s in shown),
            )
        )
    heads = ("label", "rows", "precision", "recall", "F1")
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")


def _pooled(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> tuple[list[str], list[list[int]]]:
    """At most `_MOST_LABELS` labels: the most frequent stay as they are, the others become one."""
    if len(labels) <= _MOST_LABELS:
        return list(labels), [list(row) for row in matrix]
    order = sorted(range(len(labels)), key=lambda i: -sum(matrix[i]))
    kept = sorted(order[: _MOST_LABELS - 1])
    rest = sorted(order[_MOST_LABELS - 1 :])
    groups = [[i] for i in kept] + [rest]
    names = [labels[i] for i in kept] + [f"({len(rest)} others)"]
    return names, [[sum(matrix[i][j] for i in rows for j in columns) for columns in groups] for rows in groups]
