"""What stands above and below the layers of a picture: words in the width they have, numbers as lines, answers in runs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from recurra.look.shapes import ACCENT, INK, OUTPUT, SOFT, Heat, Line, Shape, Words, visible

PIXELS = 1200
"""Columns of a heat at most."""
LINES = 4
"""Columns of numbers that are drawn as lines; more of them are a heat."""
_INKS = (INK, ACCENT, OUTPUT, SOFT)
_SMALLEST = 7.0


def ems(text: str) -> float:
    """About how wide a text is, in widths of a full-width sign."""
    return sum(1.0 if unicodedata.east_asian_width(sign) in "WF" else 0.58 for sign in text)


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def sign(text: str) -> str:
    """A token as it is shown: a blank and a new line have signs."""
    return {" ": "␣", "\n": "⏎"}.get(text, text)


def fitting(x: float, y: float, text: str, width: float, size: float, *, accent: bool = False) -> Words:
    """A text with its middle at x, as large as fits into a width, and cut where it would be too small to read."""
    text = sign(text)
    while ems(visible(text)) * _SMALLEST > width and len(text) > 2:
        text = short(text, len(text) - 1 if len(text) < 40 else 39)
        text = text[:-2] + "…" if text.endswith("……") else text
    return Words(x, y, text, size=min(size, max(_SMALLEST, width / max(ems(visible(text)), 0.5))), accent=accent)


def texts_of(outputs: Sequence[Any]) -> list[str]:
    """The likeliest of what is said at each step, or its first number; nothing where nothing is said."""
    return [_text_of(output) for output in outputs]


def _text_of(output: Any) -> str:
    if isinstance(output, list | tuple | np.ndarray):
        output = output[0] if len(output) else None
    if output is None:
        return ""
    return str(output["text"]) if isinstance(output, dict) else f"{float(output):.3g}"


def runs(texts: Sequence[str], left: float, each: float, y: float) -> list[Shape]:
    """Answers that stay for some steps: a line over these, and above it what was said, where there is room for it."""
    shapes: list[Shape] = []
    start = 0
    for end in range(1, len(texts) + 1):
        if end < len(texts) and texts[end] == texts[start]:
            continue
        width = (end - start) * each
        if texts[start] and (ems(visible(texts[start])) * _SMALLEST <= width or end == len(texts)):
            shapes.append(Line(np.array([[left + start * each + 1, y], [left + end * each - 1, y]]), OUTPUT))
            middle = left + (start + end) / 2 * each
            shapes.append(fitting(middle, y - 4, texts[start], max(width, 60.0), 8, accent=True))
        start = end
    return shapes


def numbers_in(outputs: Sequence[Any]) -> np.ndarray | None:
    """Answers that are numbers, [T]: the first of several; None where they are something else."""
    firsts = [
        output[0] if isinstance(output, list | tuple | np.ndarray) and len(output) else output for output in outputs
    ]
    if not any(isinstance(first, int | float) for first in firsts):
        return None
    return np.array([float(first) if isinstance(first, int | float) else np.nan for first in firsts])


def plot(
    columns: Sequence[tuple[str, np.ndarray, float]], left: float, y: float, each: float, high: float, side: float
) -> list[Shape]:
    """Columns of numbers as lines over the steps, (name, values[T], the step of the first one) each, on one scale.

    The names stand at the left, each in the ink of its line, the least and the greatest number at the right.
    """
    known = np.concatenate([values[np.isfinite(values)] for _, values, _ in columns])
    least, greatest = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    span = greatest - least or 1.0
    shapes: list[Shape] = []
    last = left
    for place, (name, values, first) in enumerate(columns):
        ink = _INKS[place % len(_INKS)]
        x = left + (first + np.arange(len(values)) + 0.5) * each
        last = max(last, float(x[-1]) if len(x) else left)
        height = y + high - 2 - (high - 4) * (values - least) / span
        for piece in _pieces(np.stack([x, height], axis=1)):
            shapes.append(Line(piece, ink))
        middle = y + high / 2 + 3 + (place - (len(columns) - 1) / 2) * 10
        shapes.append(Words(side, middle, short(name, 16), size=8.5, ink=ink, right=True))
    for value, at in ((greatest, y + 7), (least, y + high)):
        # what single precision left of a zero is one
        told = 0.0 if abs(value) < 1e-6 * span else value
        shapes.append(Words(last + 6, at, f"{told:.3g}", size=7, soft=True, middle=False))
    return shapes


def _pieces(points: np.ndarray) -> list[np.ndarray]:
    """points[T, 2] cut where a number is missing; what stands alone is a short line."""
    there = np.isfinite(points[:, 1])
    cuts = np.flatnonzero(np.diff(there.astype(int))) + 1
    pieces = [piece for piece in np.split(points, cuts) if len(piece) and np.isfinite(piece[0, 1])]
    return [piece if len(piece) > 1 else piece + np.array([[-1.0, 0.0], [1.0, 0.0]]) for piece in pieces]


def heat(values: np.ndarray, left: float, y: float, width: float, high: float) -> Heat:
    """values[T, F] over the steps; full colour at the greatest."""
    return Heat(left, y, width, high, blocks(values), float(np.nanmax(np.abs(values), initial=0.0)) or 1.0)


def block(steps: int) -> int:
    """Steps of one column."""
    return max(1, -(-steps // PIXELS))


def blocks(values: np.ndarray) -> np.ndarray:
    """values[T, H] -> the means of so many steps that at most PIXELS columns are left."""
    size = block(len(values))
    if size == 1:
        return values
    starts = np.arange(0, len(values), size)
    sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
    return sums / np.diff(np.append(starts, len(values)))[:, None]
