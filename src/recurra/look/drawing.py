"""A look as a picture for a paper: the network unrolled, as SVG or PNG. Both are written from one list of shapes.

A column for each step, its input below and its output above; a row for each layer and direction; each cell filled with the
heat of its state, blue below zero and orange above. Beyond `MOST` steps columns stand side by side without texts, and where
there are more than `PIXELS` of them each is the mean of as many steps as it must be, which the picture says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from recurra.look.shapes import Arrow, Heat, Rectangle, Shape, Words, png_of, svg_of

MOST = 48
"""Steps that are drawn as cells with arrows and texts."""
PIXELS = 1200
"""Columns of a heat at most."""
WIDTH, GAP, TOP, SIDE = 44.0, 16.0, 46.0, 74.0


class Looked(Protocol):
    """What `look` gives."""

    def tree(self, *, terms: bool = True) -> dict[str, Any]:
        """All of it as dictionaries, lists and arrays."""
        ...


def svg(look: Looked) -> str:
    """The picture as SVG: text stays text."""
    return svg_of(*_drawn(look.tree(terms=False)))


def png(look: Looked) -> bytes:
    """The same picture as PNG, 200 dots an inch. Signs that no font here has are written as their code, such as U+82F9."""
    return png_of(*_drawn(look.tree(terms=False)))


def _drawn(tree: Mapping[str, Any]) -> tuple[list[Shape], float, float]:
    """Shapes of all scenes, one below the other, and the size of the picture in points."""
    shapes: list[Shape] = []
    y, widest = 0.0, 0.0
    for scene in tree["scenes"]:
        drawn, width, height = _scene(tree["model"], scene, y)
        shapes += drawn
        y, widest = y + height, max(widest, width)
    model = tree["model"]
    steps = " and ".join(str(scene["steps"]) for scene in tree["scenes"])
    told = f"{model['parameters']:,} parameters, the same at each step ({steps} steps)"
    shapes.append(Words(10, y + 12, told, size=9, soft=True, middle=False))
    return shapes, max(widest, 330.0), y + 24


def _scene(model: Mapping[str, Any], scene: Mapping[str, Any], top: float) -> tuple[list[Shape], float, float]:
    steps, small = scene["steps"], scene["steps"] <= MOST
    lanes = _lanes(model, scene)
    each = WIDTH if small else min(WIDTH, max(720.0 / max(steps, 1), 1e-9))
    high = 30.0 if len(lanes) > 4 else 44.0
    shapes: list[Shape] = [Words(10, top + 14, _short(scene["title"], 90), size=11, bold=True, middle=False)]
    y, gap = top + TOP + (18 if small else 0), GAP if small else 6.0
    left = SIDE + WIDTH
    for place, (name, values, initial, reverse) in enumerate(reversed(lanes)):
        shapes.append(Words(SIDE - 8, y + high / 2 + 3, name, size=8.5, soft=True, right=True))
        scale = float(np.abs(values).max(initial=0.0)) or 1.0
        if small:
            shapes += _cells(values, initial, scale, left, y, high, reverse)
            shapes += [
                Arrow(left + (t + 0.5) * WIDTH, y + high + gap - 1, left + (t + 0.5) * WIDTH, y + high + 1)
                for t in range(steps)
            ]
            if place == 0:
                shapes += _outputs(scene, left, y)
        else:
            shapes.append(Heat(left, y, each * steps, high, _blocks(values), scale))
        y += high + gap
    shapes += _inputs(scene, left, y, steps, each, small)
    return shapes, left + each * steps + SIDE, y - top + (34 if small else 40)


Lane = tuple[str, np.ndarray, np.ndarray, bool]


def _lanes(model: Mapping[str, Any], scene: Mapping[str, Any]) -> list[Lane]:
    """Each layer and direction from below: its name, state[T, H], the initial state[H], and whether it reads backwards."""
    found: list[Lane] = []
    for layer, ways in zip(model["layers"], scene["layers"], strict=True):
        for way, lane in ways.items():
            state = next(iter(lane["state"].values()), lane["outputs"])
            initial = next(iter(lane["initial"].values()), np.zeros(0))
            number = str(int(layer["name"]) + 1) if layer["name"].isdigit() else layer["name"]
            name = f"{layer['cell'].upper()} {number}" + (f" {way}" if len(ways) > 1 else "")
            found.append((name, np.asarray(state), np.asarray(initial), way == "back"))
    return found


def _cells(
    values: np.ndarray, initial: np.ndarray, scale: float, left: float, y: float, high: float, reverse: bool
) -> list[Shape]:
    """A lane of a short sequence: its states in boxes, with arrows from each to the next."""
    inset, middle, steps = 8.0, y + high / 2, len(values)
    shapes: list[Shape] = []
    # at the two ends: the state before all steps, and that after them, which is the one of the last step that was read
    before_all, after_all = left - WIDTH, left + steps * WIDTH
    if reverse:
        before_all, after_all = after_all, before_all
    if len(initial) and steps:
        final = values[0] if reverse else values[-1]
        for x, state, name in ((before_all, initial, "initial"), (after_all, final, "final")):
            shapes.append(Heat(x + inset, y, WIDTH - 2 * inset, high, state[None], scale))
            shapes.append(Rectangle(x + inset, y, WIDTH - 2 * inset, high, dashed=True))
            shapes.append(Words(x + WIDTH / 2, y + high + 9, name, size=7, soft=True))
        into = after_all + (WIDTH - inset if reverse else inset)
        out = after_all + (WIDTH + inset if reverse else -inset)
        shapes.append(Arrow(out, middle, into, middle, accent=True))
    for t in range(steps):
        x = left + t * WIDTH
        shapes.append(Heat(x + inset, y, WIDTH - 2 * inset, high, values[t : t + 1], scale))
        shapes.append(Rectangle(x + inset, y, WIDTH - 2 * inset, high))
        before = x + WIDTH + inset if reverse else x - inset
        into = x + WIDTH - inset if reverse else x + inset
        if len(initial):
            shapes.append(Arrow(before, middle, into, middle, accent=True))
    return shapes


def _outputs(scene: Mapping[str, Any], left: float, y: float) -> list[Shape]:
    shapes: list[Shape] = []
    for t, output in enumerate(scene["outputs"]):
        text = _output(output)
        if text:
            x = left + (t + 0.5) * WIDTH
            shapes.append(Arrow(x, y - 1, x, y - 13))
            shapes.append(Words(x, y - 17, _short(text, 7), size=8, accent=True))
    return shapes


def _output(output: Any) -> str:
    """The likeliest of what is said at a step, or its first number; nothing where nothing is said."""
    if isinstance(output, list | tuple | np.ndarray):
        output = output[0] if len(output) else None
    if output is None:
        return ""
    return str(output["text"]) if isinstance(output, dict) else f"{float(output):.3g}"


def _inputs(
    scene: Mapping[str, Any], left: float, y: float, steps: int, each: float, small: bool
) -> list[Shape]:  # fmt: skip
    if small:
        return [
            Words(left + (t + 0.5) * WIDTH, y + 12, _short(_input(scene["inputs"], t), 6), size=10)
            for t in range(steps)
        ]
    block = _block(steps)
    told = "" if block == 1 else f" (a column is the mean of {block} steps)"
    return [
        Words(left, y + 12, "1", size=8.5, soft=True, middle=False),
        Words(left + each * steps, y + 12, f"{steps:,}", size=8.5, soft=True, right=True),
        Words(left + each * steps / 2, y + 12, f"steps{told}", size=8.5, soft=True),
    ]


def _input(inputs: Mapping[str, Any], step: int) -> str:
    if inputs["kind"] == "tokens":
        return str(inputs["texts"][step]) if step < len(inputs["texts"]) else ""
    return f"{float(np.asarray(inputs['values'])[step][0]):.3g}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _block(steps: int) -> int:
    """Steps of one column."""
    return max(1, -(-steps // PIXELS))


def _blocks(values: np.ndarray) -> np.ndarray:
    """values[T, H] -> the means of so many steps that at most PIXELS columns are left."""
    block = _block(len(values))
    if block == 1:
        return values
    starts = np.arange(0, len(values), block)
    sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
    return sums / np.diff(np.append(starts, len(values)))[:, None]
