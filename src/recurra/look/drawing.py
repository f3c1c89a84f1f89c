"""A look as a picture for a paper: the network unrolled, as SVG or PNG. Both are written from one list of shapes.

A column for each step, its input below and its output above; a row for each layer and direction; each cell filled with the
heat of its state, blue below zero and orange above. Under the inputs the same colours tell what each step brought to the last
answer that is explained. Beyond `MOST` steps (of numbers `FEW`) columns stand side by side without texts, numbers are lines,
and where there are more than `PIXELS` of them each is the mean of as many steps as it must be, which the picture says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recurra.cells import CELLS
from recurra.look.packing import numbers_of
from recurra.look.shapes import Arrow, Heat, Rectangle, Shape, Words, png_of, svg_of
from recurra.look.strips import (
    LINES,
    PIXELS,
    block,
    blocks,
    ems,
    fitting,
    heat,
    numbers_in,
    plot,
    runs,
    short,
    sign,
    texts_of,
)

__all__ = ["PIXELS", "png", "svg"]
MOST, FEW = 48, 16
"""Steps that are drawn as cells with arrows and texts: of tokens, and of numbers."""
WIDTH, GAP, TOP, SIDE = 44.0, 16.0, 46.0, 74.0
_NAMES = {"owncell": "OwnCell", **{name: kind.__name__ for name, kind in CELLS.items()}}


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
    scenes = [_Scene(tree["model"], scene) for scene in tree["scenes"]]
    for scene in scenes:
        # names of all scenes stand in one margin
        scene.side = max(each.side for each in scenes)
        drawn, width, height = scene.draw(y)
        shapes += drawn
        y, widest = y + height, max(widest, width)
    model = tree["model"]
    steps = " and ".join(str(scene["steps"]) for scene in tree["scenes"])
    told = f"{model['parameters']:,} parameters, the same at each step ({steps} steps)"
    shapes.append(Words(10, y + 12, told, size=9, soft=True, middle=False))
    return shapes, max(widest, 330.0), y + 24


@dataclass(frozen=True)
class _Lane:
    """A layer and direction: its name, state[T, H], the initial state[H] (none: nothing is carried), how it reads."""

    name: str
    values: np.ndarray
    initial: np.ndarray
    reverse: bool = False


@dataclass(frozen=True)
class _Group:
    """Layers over the same inputs, from below, with the lanes of each; what stands under them, and what each step brought."""

    layers: list[list[_Lane]]
    inputs: Mapping[str, Any]
    steps: int
    why: tuple[str, np.ndarray] | None


class _Scene:
    """One input being drawn, from the top down."""

    def __init__(self, model: Mapping[str, Any], scene: Mapping[str, Any]) -> None:
        self.scene, self.steps = scene, scene["steps"]
        self.rows = scene["inputs"]["kind"] != "tokens"
        self.small = self.steps <= (FEW if self.rows else MOST)
        self.each = WIDTH if self.small else min(WIDTH, max(720.0 / max(self.steps, 1), 1e-9))
        self.groups = _groups(model, scene)
        lanes = [lane for group in self.groups for layer in group.layers for lane in layer]
        named = [lane.name for lane in lanes] + [f"why {group.why[0]}" for group in self.groups if group.why]
        self.side = max([SIDE, *(8.5 * ems(name) + 20 for name in named)])
        self.high = 30.0 if len(lanes) > 4 else 44.0
        self.shapes: list[Shape] = []
        self.y = 0.0

    @property
    def left(self) -> float:
        """Where the first step begins."""
        return self.side + (WIDTH if self.small else 0)

    def draw(self, top: float) -> tuple[list[Shape], float, float]:
        """The shapes, the width and the height."""
        self.shapes.append(
            Words(10, top + 14, short(self.scene["title"].replace("\n", " ⏎ "), 90), size=11, bold=True, middle=False)
        )
        self.y = top + TOP + (18 if self.small else 0)
        self._answers()
        for group in reversed(self.groups):
            for layer in reversed(group.layers):
                self._layer(layer)
            self._inputs(group)
        widest = max(self.steps, *(group.steps for group in self.groups)) + self._ahead()
        return self.shapes, self.left + self.each * widest + (WIDTH + 30 if self.small else SIDE), self.y - top

    def _name(self, text: str, middle: float) -> None:
        self.shapes.append(Words(self.side - 8, middle + 3, text, size=8.5, soft=True, right=True))

    # ---- above

    def _answers(self) -> None:
        texts = texts_of(self.scene["outputs"])
        if self.small:
            for t, text in enumerate(texts):
                if text:
                    x = self.left + (t + 0.5) * WIDTH
                    self.shapes.append(Arrow(x, self.y - 1, x, self.y - 13))
                    self.shapes.append(fitting(x, self.y - 17, text, WIDTH - 2, 8, accent=True))
            return
        numbers = numbers_in(self.scene["outputs"])
        if numbers is None:
            self.shapes += runs(texts, self.left, self.each, self.y - 4)
        elif not self._ahead() and np.isfinite(numbers).sum() > 1:
            self.shapes += plot([("answer", numbers, 0)], self.left, self.y - 12, self.each, 30, self.side - 8)
            self.y += 24

    def _ahead(self) -> int:
        """How many values are forecast, where numbers are drawn as lines."""
        answer = self.scene.get("answer")
        mean = answer.get("mean") if isinstance(answer, Mapping) else None
        return 0 if self.small or not isinstance(mean, Sequence) else len(mean)

    # ---- layers

    def _layer(self, layer: list[_Lane]) -> None:
        gap = GAP if self.small else 6.0
        top = self.y
        for place, lane in enumerate(reversed(layer)):
            self._name(lane.name, self.y + self.high / 2)
            scale = float(np.abs(lane.values).max(initial=0.0)) or 1.0
            if self.small:
                self.shapes += _cells(lane, scale, self.left, self.y, self.high)
            else:
                x, width = self.left, self.each * self.steps
                if len(lane.values) != self.steps and self._ahead():
                    # what makes the forecast stands over it
                    x, width = x + width, self.each * self._ahead()
                self.shapes.append(Heat(x, self.y, width, self.high, blocks(lane.values), scale))
            if self.small and place == len(layer) - 1:
                gap += 8.0 * (len(layer) > 1)
                self._up(self.y + self.high, gap, len(lane.values))
            self.y += self.high + gap
        if self.small and len(layer) > 1:
            # both directions read the same: one layer
            width = (max(len(lane.values) for lane in layer) + 2) * WIDTH - 8
            self.shapes.append(Rectangle(self.left - WIDTH + 4, top - 4, width, self.y - top - gap + 16, dashed=True))

    def _up(self, y: float, gap: float, steps: int) -> None:
        for t in range(steps):
            x = self.left + (t + 0.5) * WIDTH
            self.shapes.append(Arrow(x, y + gap - 1, x, y + 1))

    # ---- below

    def _inputs(self, group: _Group) -> None:
        if self.small:
            self._texts(group)
        else:
            self._lines(group)
        if group.why is not None:
            name, brought = group.why
            self._name(f"why {name}", self.y + 4)
            scale = float(np.nanmax(np.abs(brought), initial=0.0)) or 1.0
            if self.small:
                for t, value in enumerate(brought):
                    place = self.left + t * WIDTH + 8
                    self.shapes.append(Heat(place, self.y, WIDTH - 16, 8, np.full((1, 1), value), scale))
            else:
                self.shapes.append(
                    Heat(self.left, self.y, self.each * len(brought), 8, blocks(brought[:, None]), scale)
                )
            self.y += 14
        self.y += 24

    def _texts(self, group: _Group) -> None:
        if group.inputs["kind"] == "tokens":
            for t, text in enumerate(group.inputs["texts"][: group.steps]):
                self.shapes.append(fitting(self.left + (t + 0.5) * WIDTH, self.y + 10, text, WIDTH - 4, 10))
            self.y += 18
            return
        values = np.asarray(group.inputs["values"], np.float64)
        if values.shape[1] <= LINES:
            for t, row in enumerate(values):
                for place, value in enumerate(row):
                    x, y = self.left + (t + 0.5) * WIDTH, self.y + 9 + 10 * place
                    self.shapes.append(fitting(x, y, f"{value:.3g}", WIDTH - 4, 9))
            self.y += 6 + 10 * values.shape[1]
            return
        scale = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
        for t in range(len(values)):
            self.shapes.append(Heat(self.left + t * WIDTH + 8, self.y, WIDTH - 16, self.high, values[t : t + 1], scale))
        self._name(f"{values.shape[1]} numbers", self.y + self.high / 2)
        self.y += self.high + 8

    def _lines(self, group: _Group) -> None:
        """Numbers as lines, a forecast behind them; then the count of steps."""
        if self.rows:
            values = np.asarray(group.inputs["values"], np.float64)
            if values.shape[1] <= LINES:
                self._plots(group.inputs["columns"], values)
            else:
                self._name(f"{values.shape[1]} numbers", self.y + self.high / 2)
                self.shapes.append(heat(values, self.left, self.y, self.each * len(values), self.high))
                self.y += self.high
        size = block(self.steps)
        told = "" if size == 1 else f" (a column is the mean of {size} steps)"
        end, y = self.left + self.each * self.steps, self.y + 12
        self.shapes += [
            Words(self.left, y, "1", size=8.5, soft=True, middle=False),
            Words(end, y, f"{self.steps:,}", size=8.5, soft=True, right=True),
            Words((self.left + end) / 2, y, f"steps{told}", size=8.5, soft=True),
        ]
        self.y += 20

    def _plots(self, names: Sequence[str], values: np.ndarray) -> None:
        if self._ahead():
            # the series with what is forecast behind it; what stands beside it has a scale of its own
            mean = np.asarray(self.scene["answer"]["mean"], np.float64)
            self._plot([("value", values[:, 0], 0), ("forecast", mean, self.steps)], self.high)
            for place, name in enumerate(names[1:], 1):
                self._plot([(name, values[:, place], 0)], 18)
            return
        called = [name if not name.isdigit() else f"column {name}" for name in names]
        self._plot([(name, values[:, place], 0) for place, name in enumerate(called)], self.high)

    def _plot(self, columns: list[tuple[str, np.ndarray, float]], high: float) -> None:
        self.shapes += plot(columns, self.left, self.y, self.each, high, self.side - 8)
        self.y += high + 6


def _groups(model: Mapping[str, Any], scene: Mapping[str, Any]) -> list[_Group]:
    """From below: of a translator the layers that read the source, then those that write."""
    inputs, steps = scene["inputs"], scene["steps"]
    each = [
        (layer["name"], [_lane(layer, way, lane, len(ways) > 1) for way, lane in ways.items()])
        for layer, ways in zip(model["layers"], scene["layers"], strict=True)
    ]
    last = next(iter(reversed(scene.get("why") or [])), None)
    brought = None if last is None else np.asarray(last["methods"]["integrated"], np.float64)
    why = None if last is None or brought is None else (f"“{short(sign(last['target']['text']), 10)}”", brought)
    source = inputs.get("source")
    if source is None:
        return [_Group([lanes for _, lanes in each], inputs, steps, why)]
    reading = [lanes for name, lanes in each if name.startswith("encoder")]
    writing = [lanes for name, lanes in each if not name.startswith("encoder")]
    attention = scene.get("attention")
    if attention is not None:
        writing.insert(1, [_Lane("looks at", numbers_of(attention), np.zeros(0))])
    return [
        _Group(reading, {"kind": "tokens", "texts": source}, len(source), why),
        _Group(writing, inputs, steps, None),
    ]


def _lane(layer: Mapping[str, Any], way: str, lane: Mapping[str, Any], both: bool) -> _Lane:
    state = next(iter(lane["state"].values())) if lane["state"] else lane["outputs"]
    initial = next(iter(lane["initial"].values()), np.zeros(0))
    parts = [str(int(part) + 1) if part.isdigit() else part for part in layer["name"].split(".")]
    name = f"{_NAMES.get(layer['cell'], layer['cell'].upper())} {' '.join(parts)}"
    return _Lane(name + (f" {way}" if both else ""), numbers_of(state), np.asarray(initial), way == "back")


def _cells(lane: _Lane, scale: float, left: float, y: float, high: float) -> list[Shape]:
    """A lane of a short sequence: its states in boxes, with arrows from each to the next."""
    values, initial, reverse = lane.values, lane.initial, lane.reverse
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
