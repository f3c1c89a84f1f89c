"""Units and states side by side: which units are alike, and the way of a state drawn in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_UNITS = 2048
"""Units that are put in order at most; the table of their likenesses grows with the square."""
MOST_ROWS = 4096
"""States that both are learnt from at most, evenly chosen."""


@dataclass(frozen=True)
class Plane:
    """The two directions in which states differ most (principal components): centre[H], axes[2, H], and the share of the
    variance that each tells."""

    centre: np.ndarray
    axes: np.ndarray
    explained: list[float]

    def of(self, states: np.ndarray) -> np.ndarray:
        """states[T, H] -> [T, 2]."""
        return ((states - self.centre) @ self.axes.T).astype(np.float32)


def plane_of(states: np.ndarray) -> Plane:
    """The plane of states[N, H], of several inputs together, so that their ways can be compared. Signs are fixed: the
    greatest number of each axis is positive."""
    width = states.shape[1]
    some = _some(states).astype(np.float64)
    centre = some.mean(axis=0) if len(some) else np.zeros(width)
    _, sizes, axes = np.linalg.svd(some - centre, full_matrices=False)
    axes = np.concatenate([axes[:2], np.zeros((max(0, 2 - len(axes)), width))])
    for axis in axes:
        if axis.size and axis[np.abs(axis).argmax()] < 0:
            axis *= -1
    whole = float((sizes**2).sum())
    shares = [float(size**2) / whole if whole > 0 else 0.0 for size in sizes[:2]]
    return Plane(centre, axes, shares + [0.0] * (2 - len(shares)))


def order_of(states: np.ndarray) -> list[int]:
    """Units in an order in which those that go together stand together: by the Fiedler vector of their likeness, the
    correlation plus one (Atkins et al. 1998). Units that never change stand last; of too many the order is theirs."""
    width = states.shape[1]
    if width > MOST_UNITS or len(states) < 2:
        return list(range(width))
    some = _some(states).astype(np.float64)
    apart = some - some.mean(axis=0)
    sizes = np.linalg.norm(apart, axis=0)
    moving = np.flatnonzero(sizes > 1e-12 * max(1.0, float(np.abs(some).max())))
    still = np.setdiff1d(np.arange(width), moving)
    if len(moving) < 3:
        return [*moving.tolist(), *still.tolist()]
    unit = apart[:, moving] / sizes[moving]
    likeness = unit.T @ unit + 1.0
    np.fill_diagonal(likeness, 0.0)
    laplacian = np.diag(likeness.sum(axis=0)) - likeness
    vector = np.linalg.eigh(laplacian)[1][:, 1]
    if vector[np.abs(vector).argmax()] < 0:
        vector = -vector
    return [*moving[np.argsort(vector, kind="stable")].tolist(), *still.tolist()]


def _some(states: np.ndarray) -> np.ndarray:
    return states if len(states) <= MOST_ROWS else states[np.linspace(0, len(states) - 1, MOST_ROWS).astype(int)]
