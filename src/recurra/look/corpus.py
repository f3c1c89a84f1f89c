"""A model over many inputs: where each unit is largest, and which stretches left it in a state like the one looked at."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappushpop
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.errors import DataError
from recurra.look.kinds import Asker, asker
from recurra.look.parts import Part
from recurra.look.why import frozen
from recurra.models import Task

TOP, ALIKE = 3, 8
"""Places that are kept of each unit, and stretches like this one."""
MOST_STEPS = 1 << 18
"""Steps of a corpus that are read; what comes after them is not."""
MOST_UNITS = 256
"""Units of a layer that are told of, the ones that change most."""
AROUND = 12
"""Tokens shown on each side of a place."""


@dataclass(frozen=True)
class Corpus:
    """units: by layer and unit the places where it is largest; alike: the stretches whose last state is nearest; read and
    left: how many inputs were read, and how many not, since there were too many steps."""

    units: list[dict[str, Any]]
    alike: list[dict[str, Any]]
    read: int
    left: int


def search(task: Task, parts: list[Part], inputs: Iterable[tuple[str, Any]], last: np.ndarray | None) -> Corpus:
    """Read (name, raw input) one after another, each from the beginning.

    `last`[H] is a state of the last layer that others are compared with, by the cosine between them. Raises `DataError`
    where there is no input that can be read.
    """
    best: list[_Best] = [_Best() for _ in parts]
    nearest: list[tuple[float, int, dict[str, Any]]] = []
    read = left = steps = 0
    with frozen(task), torch.no_grad():
        for number, (name, raw) in enumerate(inputs):
            if steps >= MOST_STEPS:
                left += 1
                continue
            try:
                one = asker(task, raw)
            except DataError:
                # an empty row, say: the others are what was asked for
                continue
            read, steps = read + 1, steps + one.steps
            with outputs_of(parts) as found:
                one.run()
            shown = _Shown(one, name)
            for place, part in enumerate(parts):
                if part.name in found:
                    best[place].take(found[part.name], shown)
            if last is not None and parts[-1].name in found:
                value, at = _nearest(found[parts[-1].name], last)
                entry = (value, -number, shown.at(at, value))
                nearest = sorted([*nearest, entry], key=lambda each: each[:2], reverse=True)[:ALIKE]
    if not read:
        raise DataError("The corpus has nothing that this model can read", expected="at least one input")
    units = [entry for layer, one in enumerate(best) for entry in one.told(layer)]
    return Corpus(units, [entry for _, _, entry in nearest], read, left)


@contextmanager
def outputs_of(parts: list[Part]) -> Any:
    """Within it, what each layer gives is noted, [T, H] of one input by the layer's name; the first time it is called."""
    found: dict[str, np.ndarray] = {}

    def note(part: Part) -> Any:
        def hook(module: nn.Module, arguments: Any, result: tuple[Tensor, Any]) -> None:
            values = result[0].detach().float().cpu().numpy()
            found.setdefault(part.name, values.reshape(-1, values.shape[-1]))

        return hook

    handles = [part.module.register_forward_hook(note(part)) for part in parts]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


class _Shown:
    """An input as its places are told: a token among its neighbours, or the number of a row."""

    def __init__(self, one: Asker, name: str) -> None:
        told = one.told()
        self._texts: list[str] | None = told.get("source", told.get("texts"))
        self._name = name

    def at(self, step: int, value: float) -> dict[str, Any]:
        """{"text", "at": where in it the token stands, "value", "row", "step"}."""
        place = {"value": value, "row": self._name, "step": step}
        if self._texts is None or step >= len(self._texts):
            return {"text": f"{self._name}: {step + 1}", "at": 0, **place}
        first = max(0, step - AROUND)
        around = self._texts[first : step + AROUND + 1]
        apart = any(len(text) > 1 and text.isalpha() for text in around)
        before = [text + " " if apart else text for text in around[: step - first]]
        text = (" " if apart else "").join(around)
        return {"text": text, "at": sum(map(len, before)), **place}


class _Best:
    """The greatest values of each unit of a layer, of each input one, and how much the unit changes."""

    def __init__(self) -> None:
        self._heaps: list[list[tuple[float, int, dict[str, Any]]]] = []
        self._squares = np.zeros(0)
        self._sums = np.zeros(0)
        self._count = self._taken = 0

    def take(self, values: np.ndarray, shown: _Shown) -> None:
        """values[T, H]."""
        if not self._heaps:
            self._heaps = [[] for _ in range(values.shape[1])]
            self._squares, self._sums = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        self._taken += 1
        self._count += len(values)
        self._squares += np.square(values, dtype=np.float64).sum(axis=0)
        self._sums += values.sum(axis=0, dtype=np.float64)
        at = values.argmax(axis=0)
        top = values.max(axis=0)
        for unit, heap in enumerate(self._heaps):
            value = float(top[unit])
            if len(heap) < TOP:
                heap.append((value, -self._taken, shown.at(int(at[unit]), value)))
                heap.sort(key=lambda each: each[:2])
            elif value > heap[0][0]:
                heappushpop(heap, (value, -self._taken, shown.at(int(at[unit]), value)))

    def told(self, layer: int) -> list[dict[str, Any]]:
        """The units in their order, of a wide layer those that change most."""
        if not self._heaps:
            return []
        spread = self._squares / self._count - np.square(self._sums / self._count)
        chosen = sorted(np.argsort(-spread, kind="stable")[:MOST_UNITS].tolist())
        found = []
        for unit in chosen:
            best = sorted(self._heaps[unit], key=lambda each: each[:2], reverse=True)
            found.append({"layer": layer, "unit": unit, "top": [entry for _, _, entry in best]})
        return found


def _nearest(values: np.ndarray, last: np.ndarray) -> tuple[float, int]:
    """The greatest cosine between values[T, H] and last[H], and where it is."""
    sizes = np.linalg.norm(values, axis=1) * np.linalg.norm(last)
    cosines = (values @ last) / np.where(sizes > 0, sizes, np.inf)
    at = int(cosines.argmax())
    return float(cosines[at]), at
