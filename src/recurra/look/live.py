"""A state as it moves, for a terminal: each unit a bar, and how far the last step moved it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.state import leaves

BARS = " ▁▂▃▄▅▆▇█"
WIDEST = 256
"""Units of a leaf that are drawn, the first ones."""


@dataclass(frozen=True)
class Moved:
    """One leaf of a state: its units, and the distances from zero and from where it stood before."""

    name: str
    units: np.ndarray
    norm: float
    moved: float


def moved(state: Any, before: Any, tallies: tuple[str, ...] = ()) -> list[Moved]:
    """The leaves of the first row of a state, beside the state before it; what only counts is left out."""
    found = []
    old = leaves(before)
    for name, leaf in leaves(state).items():
        if not leaf.is_floating_point() or leaf.dim() < 2 or not leaf[0].numel() or name.startswith(tallies or ("\0",)):
            continue
        now, then = (each[0].detach().float().cpu().numpy() for each in (leaf, old[name]))
        if now.shape != then.shape:
            # as long as what was read, as a source is that a decoder looks at: another one has come in its place
            then = np.zeros_like(now)
        now, then = now.reshape(-1), then.reshape(-1)
        found.append(Moved(name, now, float(np.linalg.norm(now)), float(np.linalg.norm(now - then))))
    return found


def bars(units: np.ndarray, width: int) -> list[tuple[str, int]]:
    """(a bar, its sign) for each of `width` units at most: full where the size is 1, or the greatest, if that is more.

    Where there are more units, neighbours share a bar: that of the greatest size among them.
    """
    units = units[:WIDEST]
    if len(units) > width:
        groups = np.array_split(units, max(1, width))
        units = np.array([group[np.abs(group).argmax()] for group in groups])
    full = max(1.0, float(np.abs(units).max(initial=0.0)))
    levels = np.ceil(np.abs(units) / full * (len(BARS) - 1) - 1e-9).astype(int)
    return [(BARS[level], int(np.sign(unit))) for level, unit in zip(levels, units, strict=True)]


def line(found: list[Moved], width: int = 32) -> str:
    """All leaves on one line of plain text."""
    return "  ".join(
        f"{each.name} {''.join(bar for bar, _ in bars(each.units, width))} {each.norm:.3g} (moved {each.moved:.3g})"
        for each in found
    )
