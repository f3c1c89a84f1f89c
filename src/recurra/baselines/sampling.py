"""Keeps a baseline quick on large data: a fixed random choice of rows. Knows nothing of what the rows hold."""

from __future__ import annotations

import numpy as np


def sample_rows(targets: np.ndarray, most: int) -> np.ndarray:
    """Return the sorted indices of about `most` rows, at least one of each class; all rows where they are few
    enough.

    `targets` is [rows] of class numbers. The choice is random but the same on every call.
    """
    if len(targets) <= most:
        return np.arange(len(targets))
    order = np.random.default_rng(0).permutation(len(targets))
    _, first = np.unique(targets[order], return_index=True)
    return np.unique(np.concatenate([order[:most], order[first]]))
